@0x8e5bb88a103bb96a;
# One error for every layer; error.hpp has the C++ side and the table that maps codes to HTTP.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");

struct Error {
  code    @0 :UInt16;    # troupe::fault
  message @1 :Text;      # one sentence, capital first letter, no full stop
  entity  @2 :Text;      # "/1.0/instances/c1", empty when it concerns the request itself
}
