@0xa4ea2c469430ae0c;
# Annotations that say how a field looks as JSON. The reflection in json.hpp is their only reader.
# Without one, `createdAt` is `created_at`, an enumerant is its own name, and a null list is `[]`.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");

annotation name @0xb34808ee25572c5f (field, enumerant) :Text;      # the JSON name, where the rule above does not give it
annotation omitEmpty @0x81b8448197bad408 (field) :Void;            # left out when zero, empty or false
annotation hidden @0xbccdd26e4ef41a00 (field) :Void;               # never shown and never read: internal state
annotation secret @0x87c3de921ee38d08 (field) :Void;               # read from a client, never shown
annotation time @0xb07f18fa38c6337c (field) :Void;                 # Int64 nanoseconds since the epoch <-> RFC 3339
annotation map @0xd2512d75e917eeaa (field) :Void;                  # a list of two-field structs (key, value) <-> an object
annotation raw @0xf7e2b823fa8fd371 (field) :Void;                  # Text that holds a JSON value as it is
annotation nullable @0xdcb4a01d38dc3dda (field) :Void;             # a null pointer is `null`, not an empty value

struct KeyValue { key @0 :Text; value @1 :Text; }
struct Device { name @0 :Text; config @1 :List(KeyValue) $map; }
struct StringList { name @0 :Text; items @1 :List(Text); }
