@0xd667c584e1e9867d;
# Backups of instances: an archive in DIR/backups, in the layout of LXD 5, and what is known of it.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct BackupSpec {
  # In this member's `backups`: PROJECT/INSTANCE/NAME. Only the instance's own actor writes it.
  name             @0 :Text;
  createdAt        @1 :Int64 $Json.time;
  expiresAt        @2 :Int64 $Json.time;      # 0: never
  instanceOnly     @3 :Bool;                   # without its snapshots
  containerOnly    @4 :Bool;                   # the same, as older clients call it
  optimizedStorage @5 :Bool;
  compression      @6 :Text $Json.hidden;     # what it was packed with
  file             @7 :Text $Json.hidden;     # a name of its own, so that renaming moves nothing on the disk
  size             @8 :UInt64 $Json.hidden;   # bytes
}

struct BackupsPost {
  name                 @0 :Text;               # empty: backup0, backup1, ...
  expiresAt            @1 :Int64 $Json.time;
  instanceOnly         @2 :Bool;
  containerOnly        @3 :Bool;
  optimizedStorage     @4 :Bool;
  compressionAlgorithm @5 :Text;               # "gzip", "zstd-19", "none"; empty: as the project or the server says
}
struct BackupPost { name @0 :Text; }
