@0xfd2f446e249ccc18;
# Profiles and projects.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct ProfileSpec {
  name        @0 :Text;
  description @1 :Text;
  config      @2 :List(Json.KeyValue) $Json.map;
  devices     @3 :List(Json.Device) $Json.map;
  project     @4 :Text $Json.hidden;
}
struct ProfilePut { config @0 :List(Json.KeyValue) $Json.map; description @1 :Text; devices @2 :List(Json.Device) $Json.map; }
struct ProfilesPost { config @0 :List(Json.KeyValue) $Json.map; description @1 :Text; devices @2 :List(Json.Device) $Json.map; name @3 :Text; }

struct ProjectPut { config @0 :List(Json.KeyValue) $Json.map; description @1 :Text; }
struct ProjectsPost { config @0 :List(Json.KeyValue) $Json.map; description @1 :Text; name @2 :Text; }
struct ProjectSpec {
  name        @0 :Text;
  description @1 :Text;
  config      @2 :List(Json.KeyValue) $Json.map;
}
