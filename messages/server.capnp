@0x8b716d3b003ce0ad;
# The server object of GET /1.0 and its configuration.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct Server {
  apiExtensions @0 :List(Text);
  apiStatus     @1 :Text;
  apiVersion    @2 :Text;
  auth          @3 :Text;
  public        @4 :Bool;
  authMethods   @5 :List(Text);
  config        @6 :List(Json.KeyValue) $Json.map;
  environment   @7 :Environment;
  struct Environment {
    addresses          @0 :List(Text);
    architectures      @1 :List(Text);
    certificate        @2 :Text;
    certificateFingerprint @3 :Text;
    driver             @4 :Text;
    driverVersion      @5 :Text;
    firewall           @6 :Text;
    kernel             @7 :Text;
    kernelArchitecture @8 :Text;
    kernelFeatures     @9 :List(Json.KeyValue) $Json.map;
    kernelVersion      @10 :Text;
    lxcFeatures        @11 :List(Json.KeyValue) $Json.map;
    osName             @12 :Text;
    osVersion          @13 :Text;
    project            @14 :Text;
    server             @15 :Text;
    serverClustered    @16 :Bool;
    serverEventMode    @17 :Text;
    serverName         @18 :Text;
    serverPid          @19 :Int64;
    serverVersion      @20 :Text;
    storage            @21 :Text;
    storageVersion     @22 :Text;
    storageSupportedDrivers @23 :List(StorageDriver);
  }
  struct StorageDriver { name @0 :Text $Json.name("Name"); version @1 :Text $Json.name("Version"); remote @2 :Bool $Json.name("Remote"); }
}
struct ServerUntrusted {
  # What somebody sees whom the server does not know.
  apiExtensions @0 :List(Text);
  apiStatus     @1 :Text;
  apiVersion    @2 :Text;
  auth          @3 :Text;
  public        @4 :Bool;
  authMethods   @5 :List(Text);
}
struct ServerPut { config @0 :List(Json.KeyValue) $Json.map; }
struct ServerConfig { config @0 :List(Json.KeyValue); }
