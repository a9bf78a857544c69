@0xb1c4d7e90f2a6358;
# Who may do what by the groups he is in: identities, groups, and how groups of an identity provider are mapped.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

struct Permission {
  entityType  @0 :Text;
  url         @1 :Text;         # canonical
  entitlement @2 :Text;
}
struct Identity {
  # Filed under METHOD/ID. Certificates of the trust store are identities, too, but filed as what they are.
  authenticationMethod @0 :Text;      # tls, oidc
  type           @1 :Text;      # as LXD words it
  id             @2 :Text;      # a certificate's fingerprint, a pending one's UUID, an e-mail address
  name           @3 :Text;
  groups         @4 :List(Text);
  tlsCertificate @5 :Text;      # PEM
  subject        @6 :Text $Json.hidden;        # at the provider: ISSUER SUBJECT
  providerGroups @7 :List(Text) $Json.hidden;  # the provider's, as of the last token
  tokenHash      @8 :Text $Json.hidden;        # of a pending one
  tokenExpiresAt @9 :Int64 $Json.hidden;       # seconds since the epoch; 0: never
  toldAt         @10 :Int64 $Json.hidden;      # when the provider said that of subject, name and groups; seconds
}
struct IdentityPut { groups @0 :List(Text); tlsCertificate @1 :Text; }
struct IdentitiesTlsPost {
  name        @0 :Text;
  trustToken  @1 :Text $Json.secret;
  token       @2 :Bool;         # make a pending one, and a token to become it
  certificate @3 :Text;         # PEM, or base64 of the DER form
  groups      @4 :List(Text);
}
struct AuthGroup { name @0 :Text; description @1 :Text; permissions @2 :List(Permission); }
struct AuthGroupPut { description @0 :Text; permissions @1 :List(Permission); }
struct IdentityProviderGroup { name @0 :Text; groups @1 :List(Text); }
struct IdentityProviderGroupPut { groups @0 :List(Text); }
