@0xe8e7fe3363522461;
# Work that takes time. The record is what REST shows, what the journal keeps and what events carry.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";
using Principal = import "principal.capnp".Principal;
using Error = import "error.capnp".Error;

struct Operation {
  enum Class { task @0; websocket @1; token @2; }
  enum State { pending @0; running @1; cancelling @2; succeeded @3; failed @4; cancelled @5; rolledBack @6; }
  id          @0 :Text;                             # UUIDv7
  class       @1 :Class;
  description @2 :Text;
  createdAt   @3 :Int64 $Json.time;
  updatedAt   @4 :Int64 $Json.time;
  state       @5 :State $Json.hidden;               # REST shows status and status_code, see operation_json
  resources   @6 :List(Json.StringList) $Json.map;  # kind -> URLs
  metadata    @7 :Text $Json.raw;                   # a JSON object or empty
  mayCancel   @8 :Bool;
  err         @9 :Text;
  location    @10 :Text;
  project     @11 :Text $Json.hidden;
  owner       @12 :Principal $Json.hidden;
  requestId   @13 :Text $Json.hidden;
  parent      @14 :Text $Json.hidden;
  steps       @15 :List(Step) $Json.hidden;
  error       @16 :Error $Json.hidden;
  entity      @17 :Text $Json.hidden;               # "instance/default/c1": index key of the history
  kind        @18 :Text $Json.hidden;               # saga name, e.g. "instance.create"
}

struct Step {
  # One act of a saga. `kind` names the row of the step table that does and undoes it; `args` is all it needs.
  enum State { planned @0; running @1; done @2; undone @3; failed @4; }
  kind      @0 :Text;
  args      @1 :List(Json.KeyValue);
  state     @2 :State;
  attempts  @3 :UInt16;
  startedAt @4 :Int64;
  endedAt   @5 :Int64;
  unit      @6 :Text;       # progress: "bytes", "files"
  done      @7 :UInt64;
  total     @8 :UInt64;
  after     @9 :Bool;       # comes after the commit: can only go forward
}
