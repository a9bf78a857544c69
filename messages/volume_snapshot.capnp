@0xb7c1f6a0de5b4c93;
# Snapshots of custom volumes.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct VolumeSnapshotSpec {
  # PROJECT/POOL/VOLUME/NAME. Only the pools actor has it changed.
  name        @0 :Text;
  description @1 :Text;
  contentType @2 :Text;
  createdAt   @3 :Int64 $Json.time;
  expiresAt   @4 :Int64 $Json.time;           # 0: never
  config      @5 :List(Json.KeyValue) $Json.map;  # the volume's, when it was taken
  volume      @6 :Text $Json.hidden;          # a name of its own in the pool, so that renaming moves nothing on the disk
}

struct VolumeSnapshotsPost {
  name        @0 :Text;                       # empty: by the volume's snapshots.pattern
  description @1 :Text;
  expiresAt   @2 :Int64 = -1 $Json.time;      # 0: never; -1 (not given): by its snapshots.expiry
}
struct VolumeSnapshotPut {
  description @0 :Text;
  expiresAt   @1 :Int64 = -1 $Json.time;      # -1: not given
}
struct VolumeSnapshotPost { name @0 :Text; }
