@0xd3254fb7f52e7035;
# One group of batches in the write-ahead log: every write it makes, in order, events and their history included.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");

struct LogRecord {
  lastSeq @0 :UInt64;           # number of the last event after it
  writes  @1 :List(LoggedWrite);
}

struct LoggedWrite {
  table @0 :Text;               # the table's name: numbers may move, names do not
  key   @1 :Data;
  union {
    absent @2 :Void;            # delete the record
    value  @3 :Data;
  }
}
