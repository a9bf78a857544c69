@0xe8e7fe3363522461;
# Work that takes time. The record is what REST shows, what the journal keeps and what events carry.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";
using Principal = import "principal.capnp".Principal;
using Error = import "error.capnp".Error;

struct Operation {
  enum Class { task @0; websocket @1; token @2; }
  enum State { pending @0; running @1; cancelling @2; succeeded @3; failed @4; cancelled @5; rolledBack @6; unknown @7; }
  # unknown: neither completed nor undone; steps in state `left` say what of it is still there.
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
  cancelEffect @19 :CancelEffect $Json.hidden;      # mayCancel is false exactly with `no`
  plan        @20 :Forecast $Json.hidden;           # only in the answer to a dry run, never stored
}

enum CancelEffect {
  # What a cancel would do at this moment. In each case what the operation had done is undone.
  no        @0;                              # it is refused: the commit or the undoing has begun, or it never could
  now       @1;                              # the running step is interrupted; nothing was done before it
  afterStep @2 $Json.name("after_step");     # the running step goes to its end first
  willUndo  @3 $Json.name("will_undo");      # the running step is interrupted; those before it are undone
}

struct Forecast {
  atRestart    @0 :List(Text);               # config keys that take effect at the instance's next start only
  restrictions @1 :List(Error);              # why it would be refused
}

struct OperationDetails {
  # What an operation shows beyond LXD's fields.
  state        @0 :Operation.State;
  kind         @1 :Text;
  entity       @2 :Text;
  cancelEffect @3 :CancelEffect;
  parent       @4 :Text $Json.omitEmpty;
  children     @5 :List(Text);               # URLs
  steps        @6 :List(Step);
  leftBehind   @7 :List(Step);               # state `unknown`: the inventory
}

struct OperationPlan {
  # The answer to a dry run.
  kind          @0 :Text;
  description   @1 :Text;
  entity        @2 :Text;
  possible      @3 :Bool;
  steps         @4 :List(Step);
  restrictions  @5 :List(Restriction);
  needsRestart  @6 :Bool;
  atRestart     @7 :List(Text);
  mayCancel     @8 :Bool;
  struct Restriction { code @0 :Text; message @1 :Text; entity @2 :Text $Json.omitEmpty; }
}

struct Step {
  # One act of a saga. `kind` names the row of the step table that does and undoes it; `args` is all it needs.
  enum State { planned @0; running @1; done @2; undone @3; failed @4; left @5; }
  # left: neither done nor undone; `problem` says why.
  kind      @0 :Text;
  args      @1 :List(Json.KeyValue) $Json.map;
  state     @2 :State;
  attempts  @3 :UInt16;
  startedAt @4 :Int64 $Json.time;
  endedAt   @5 :Int64 $Json.time;
  unit      @6 :Text $Json.omitEmpty;        # of the progress: "bytes"
  done      @7 :UInt64 $Json.omitEmpty;
  total     @8 :UInt64 $Json.omitEmpty;
  after     @9 :Bool;                        # comes after the commit: can only go forward
  rate      @10 :UInt64 $Json.omitEmpty;     # units a second, on average since the step began
  problem   @11 :Text $Json.omitEmpty;       # why it failed, or could not be undone
  undo      @12 :Text $Json.omitEmpty;       # what its undoing does; filled in for plans from the step table
}
