@0xb1f4a2d07c9be653;
# A durable subscription: what a named reader wants of the event log, and how far it has got.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Event = import "event.capnp".Event;

struct DurableSubscription {
  name           @0 :Text;
  subjects       @1 :List(Text);
  types          @2 :List(Text);
  leastLevel     @3 :Event.Level;
  operation      @4 :Text;
  principal      @5 :Text;
  epoch          @6 :UInt32;          # the cursor: everything up to and with it is acknowledged
  member         @7 :Text;
  seq            @8 :UInt64;
  createdAt      @9 :Int64;
  acknowledgedAt @10 :Int64;
  owner          @11 :Text;           # user name of who made it
}
