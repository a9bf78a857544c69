@0x959a80a980c7b89b;
# What happened. Committed together with the change it tells of; (epoch, member, seq) is dense.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";
using Principal = import "principal.capnp".Principal;

struct Event {
  enum Type { lifecycle @0; operation @1; logging @2; security @3; }
  enum Level { debug @0; info @1; warning @2; error @3; }
  epoch    @0 :UInt32;           # grows when a log is started anew
  member   @1 :Text;             # the server's name
  seq      @2 :UInt64;           # assigned by the store, starts at 1, no holes
  time     @3 :Int64;            # nanoseconds since the epoch
  type     @4 :Type;
  level    @5 :Level = info;
  project  @6 :Text;             # empty: concerns the server
  kind     @7 :Text;             # "instance", "network", ...
  entity   @8 :Text;             # the thing's name
  action   @9 :Text;             # lifecycle: "instance-started"; operation: its status
  source   @10 :Text;            # "/1.0/instances/c1"
  context  @11 :List(Json.KeyValue);
  requestor @12 :Principal;
  metadata @13 :Text;            # operation: the Operation object as JSON; logging, security: the object
  operation @14 :Text;           # id of the operation that brought it about, or whose own event it is
}
