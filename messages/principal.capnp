@0x92bdc2be0a771791;
# Who asks. Travels in the header of every message; the entity's own actor judges it.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct Principal {
  enum Protocol { unix @0; tls @1; oidc @2; cluster @3; internal @4; }
  username @0 :Text;        # of a TLS caller: its certificate's fingerprint
  protocol @1 :Protocol;
  address  @2 :Text;        # "@" for the unix socket, host:port else
  uid      @3 :UInt32 = 4294967295;   # peer credentials of a unix socket
}
