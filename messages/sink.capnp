@0xb92223a38ab1146c;
# Sinks: where the server sends its events by itself.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct SinkSpec {
  name        @0 :Text;
  type        @1 :Text;                                # a type of backends/sink/sink_config.cpp; never changes
  description @2 :Text;
  config      @3 :List(Json.KeyValue) $Json.map;       # without what is secret
  filter      @4 :List(Text);                          # subjects; empty: all
  types       @5 :List(Text);                          # lifecycle, operation; empty: both
  createdAt   @6 :Int64 $Json.time;
  secrets     @7 :List(Json.KeyValue) $Json.hidden;
}
struct SinkPut {
  description @0 :Text;
  config      @1 :List(Json.KeyValue) $Json.map;       # a secret that is not named stays; an empty one is removed
  filter      @2 :List(Text);
  types       @3 :List(Text);
}
struct SinksPost {
  name        @0 :Text;
  type        @1 :Text;
  description @2 :Text;
  config      @3 :List(Json.KeyValue) $Json.map;
  filter      @4 :List(Text);
  types       @5 :List(Text);
  start       @6 :Text;                                # now (default), beginning, or a cursor
}

struct SinkStatus {                                    # this member's; written at most about once a second
  epoch           @0 :UInt32 $Json.hidden;             # the cursor: all up to and with it is delivered or a dead letter
  member          @1 :Text $Json.hidden;
  seq             @2 :UInt64 $Json.hidden;
  delivered       @3 :UInt64;                          # accepted by the receiver, gaps included
  failed          @4 :UInt64;                          # attempts
  gaps            @5 :UInt64;                          # how often events were gone before they could be delivered
  failing         @6 :Bool;                            # the last attempt failed; it is being repeated
  lastError       @7 :Text;
  lastErrorAt     @8 :Int64 $Json.time;
  lastDeliveredAt @9 :Int64 $Json.time;
}

struct DeadLetter {                                    # an event that the receiver refused every time
  cursor   @0 :Text;
  subject  @1 :Text;
  error    @2 :Text;                                   # the last refusal
  attempts @3 :UInt32;
  time     @4 :Int64 $Json.time;                       # when it was given up
  event    @5 :Text $Json.raw;
}
