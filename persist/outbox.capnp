@0xd3254fb7f52e7035;
# What one batch still has to do in local.mdb, written into cluster.mdb by the transaction that decides the batch.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");

struct OutboxEntry {
  writes @0 :List(LocalWrite);
  events @1 :List(Data);        # Event messages; numbered again if they are appended after a crash
}

struct LocalWrite {
  table @0 :Text;               # the table's name: numbers may move, names do not
  key   @1 :Data;
  union {
    absent @2 :Void;            # delete the record
    value  @3 :Data;
  }
}
