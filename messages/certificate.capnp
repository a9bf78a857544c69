@0xd1f8f0c9b7a54e63;
# Who is trusted: client certificates. The record is filed under its fingerprint.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct Certificate {
  name        @0 :Text;
  type        @1 :Text;         # client, metrics
  restricted  @2 :Bool;
  projects    @3 :List(Text);   # what a restricted one may see
  certificate @4 :Text;         # PEM
  fingerprint @5 :Text;         # SHA-256 of the DER form, hexadecimal
}
struct CertificatePut { name @0 :Text; type @1 :Text; restricted @2 :Bool; projects @3 :List(Text); certificate @4 :Text; }
struct CertificatesPost {
  name        @0 :Text;
  type        @1 :Text;
  restricted  @2 :Bool;
  projects    @3 :List(Text);
  certificate @4 :Text;         # base64 of the DER form; empty: the one that the connection has shown
  password    @5 :Text $Json.secret;
  trustToken  @6 :Text $Json.secret;
  token       @7 :Bool;         # issue a token instead
}
