@0xb7c2e1d0a5f34e16;
# Warnings: what the daemon noticed and an administrator should look at.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct Warning {
  # Local to the member that noticed it. The same type about the same entity is one warning, however often it is seen.
  enum Severity { low @0; moderate @1; high @2; }
  enum Status { new @0; acknowledged @1; resolved @2; }
  uuid        @0 :Text;
  location    @1 :Text;
  project     @2 :Text;
  type        @3 :Text;
  count       @4 :Int64;
  firstSeenAt @5 :Int64 $Json.time;
  lastSeenAt  @6 :Int64 $Json.time;
  lastMessage @7 :Text;
  severity    @8 :Severity;
  status      @9 :Status;
  entityUrl   @10 :Text;
}
struct WarningPut { status @0 :Text; }
