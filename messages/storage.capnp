@0x85178be9b076aa11;
# Storage pools and volumes.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct PoolSpec {
  name        @0 :Text;
  description @1 :Text;
  driver      @2 :Text;
  config      @3 :List(Json.KeyValue) $Json.map;
  createdAt   @4 :Int64 $Json.hidden;
}
struct PoolsPost { config @0 :List(Json.KeyValue) $Json.map; description @1 :Text; name @2 :Text; driver @3 :Text; }
struct PoolPut { config @0 :List(Json.KeyValue) $Json.map; description @1 :Text; }

struct VolumeSpec {
  name        @0 :Text;
  description @1 :Text;
  type        @2 :Text;          # container, image, custom
  contentType @3 :Text;          # filesystem, block
  project     @4 :Text;
  location    @5 :Text;
  createdAt   @6 :Int64 $Json.time;
  config      @7 :List(Json.KeyValue) $Json.map;
  pool        @8 :Text $Json.hidden;
}

struct VolumesPost {
  name        @0 :Text;
  description @1 :Text;
  type        @2 :Text;
  contentType @3 :Text;
  config      @4 :List(Json.KeyValue) $Json.map;
  source      @5 :VolumeSource;
}
struct VolumeSource {
  name        @0 :Text;
  type        @1 :Text;          # copy
  pool        @2 :Text;
  project     @3 :Text;
  volumeOnly  @4 :Bool;
  refresh     @5 :Bool;
  certificate @6 :Text;
  mode        @7 :Text;
  operation   @8 :Text;
  secrets     @9 :List(Json.KeyValue) $Json.map;
  location   @10 :Text;
}
struct VolumePut {
  config      @0 :List(Json.KeyValue) $Json.map;
  description @1 :Text;
  restore     @2 :Text;
}
struct VolumePost {
  name       @0 :Text;
  pool       @1 :Text;
  project    @2 :Text;
  migration  @3 :Bool;
  volumeOnly @4 :Bool;
  target     @5 :VolumePostTarget $Json.nullable;
}
struct VolumePostTarget { certificate @0 :Text; operation @1 :Text; secrets @2 :List(Json.KeyValue) $Json.map; }

struct PoolResources {
  space  @0 :Space;
  inodes @1 :Space;
  struct Space { used @0 :UInt64; total @1 :UInt64; }
}
struct VolumeState { usage @0 :Usage; struct Usage { used @0 :UInt64; total @1 :Int64; } }
