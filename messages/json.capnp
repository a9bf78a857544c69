@0xa4ea2c469430ae0c;
# Annotations that say how a field looks as JSON. The reflection in json.hpp is their only reader.
# Without one, `createdAt` is `created_at`, an enumerant is its own name, and a null list is `[]`.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");

annotation name(field, enumerant) :Text;      # the JSON name, where the rule above does not give it
annotation omitEmpty(field) :Void;            # left out when zero, empty or false
annotation hidden(field) :Void;               # never shown and never read: internal state
annotation secret(field) :Void;               # read from a client, never shown
annotation time(field) :Void;                 # Int64 nanoseconds since the epoch <-> RFC 3339
annotation map(field) :Void;                  # a list of two-field structs (key, value) <-> an object
annotation raw(field) :Void;                  # Text that holds a JSON value as it is
annotation nullable(field) :Void;             # a null pointer is `null`, not an empty value

struct KeyValue { key @0 :Text; value @1 :Text; }
struct Device { name @0 :Text; config @1 :List(KeyValue) $map; }
struct StringList { name @0 :Text; items @1 :List(Text); }
