@0xcf7ac7aedac58b0b;
# Networks, their leases and what the kernel says of them.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";
using Instance = import "instance.capnp";

struct NetworkSpec {
  name        @0 :Text;
  description @1 :Text;
  type        @2 :Text;          # bridge
  project     @3 :Text $Json.hidden;
  config      @4 :List(Json.KeyValue) $Json.map;
  createdAt   @5 :Int64 $Json.hidden;
}
struct NetworksPost { config @0 :List(Json.KeyValue) $Json.map; description @1 :Text; name @2 :Text; type @3 :Text; }
struct NetworkPut { config @0 :List(Json.KeyValue) $Json.map; description @1 :Text; }
struct Rename { name @0 :Text; }

struct NetworkLease { hostname @0 :Text; hwaddr @1 :Text; address @2 :Text; type @3 :Text; location @4 :Text; }

struct NetworkState {
  addresses @0 :List(Instance.InstanceState.Address);
  counters  @1 :Counters;
  hwaddr    @2 :Text;
  mtu       @3 :Int32;
  state     @4 :Text;
  type      @5 :Text;
  bridge    @6 :Bridge $Json.nullable;
  struct Counters { bytesReceived @0 :UInt64; bytesSent @1 :UInt64; packetsReceived @2 :UInt64; packetsSent @3 :UInt64; }
  struct Bridge {
    id @0 :Text; stp @1 :Bool; forwardDelay @2 :UInt64; vlanDefault @3 :UInt64; vlanFiltering @4 :Bool;
    upperDevices @5 :List(Text);
  }
}
