#pragma once

#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "messages/identity.capnp.h"
#include "messages/rights.hpp"

namespace troupe {

using identity_record = message<schema::Identity>;
using group_record = message<schema::AuthGroup>;
using provider_group_record = message<schema::IdentityProviderGroup>;

struct change_identity { // -> operation_record
  enum class verb : uint8_t { create, update, patch, remove };
  verb what = verb::create;
  std::shared_ptr<const header> head;
  std::string key, etag;  // METHOD/ID; create: unused
  identity_record record; // create: as it shall be
  message<schema::IdentityPut> body;
  std::vector<std::string> given; // patch: the fields of `body` that count
};

struct change_group { // -> operation_record
  enum class verb : uint8_t { create, update, patch, rename, remove };
  verb what = verb::create;
  std::shared_ptr<const header> head;
  std::string name, new_name, etag;
  message<schema::AuthGroupPut> body;
  std::vector<std::string> given;
};

struct change_provider_group { // -> operation_record
  using verb = change_group::verb;
  verb what = verb::create;
  std::shared_ptr<const header> head;
  std::string name, new_name, etag;
  message<schema::IdentityProviderGroupPut> body;
  std::vector<std::string> given;
};

/// Somebody unknown brings the token of a pending identity, and becomes it with the certificate that he has shown.
/// -> operation_record; forbidden, busy as with join_by_secret.
struct join_by_token {
  std::shared_ptr<const header> head;
  std::string certificate; // PEM
  std::string secret;
};

/// The identity provider vouches for somebody: made known at the first time, brought up to date after.
/// -> operation_record
struct note_login {
  std::shared_ptr<const header> head;
  std::string email, name, subject;
  std::vector<std::string> provider_groups;
  int64_t told_at = 0; // when the provider said so, seconds since the epoch: what it said last counts
};

/// The IDENTITIES actor: who is in which groups, and what these give. Who loses something is cut off by the doors,
/// which follow its events.
caf::behavior identities(caf::event_based_actor* self, services& with);

// ---- reading

inline std::string identity_key(std::string_view method, std::string_view id) {
  return std::string{method} + '/' + std::string{id};
}
/// Its own, and those that its provider's groups are mapped to; sorted.
std::vector<std::string> effective_groups(const snapshot& records, const identity_record& identity);
rights rights_of(const snapshot& records, const std::vector<std::string>& groups);

/// A certificate of the trust store, as the identity that it is.
identity_record identity_of_certificate(const snapshot& records, std::string_view fingerprint);
/// All, certificates too, in the order of their keys.
void each_identity(const snapshot& records,
                   const std::function<void(std::string_view key, const identity_record&)>& visit);
/// By its id; also what is a certificate of the trust store.
std::optional<identity_record> identity_at(const snapshot& records, std::string_view method, std::string_view id);
/// By its id, or its name if only one has it: for that all are looked at, which is for a blocking thread.
outcome<identity_record> find_identity(const snapshot& records, std::string_view method, std::string_view name);

/// The id of the pending identity that waits for this token: found without looking at the others.
std::string pending_id(const std::string& secret);
/// Whether a pending identity waits for it.
bool is_token_of_identity(const snapshot& records, const std::string& secret);

inline constexpr std::string_view tls_type = "Client certificate", pending_type = "Client certificate (pending)",
                                  oidc_type = "OIDC client";

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::change_identity)
TROUPE_LOCAL_MESSAGE(troupe::change_group)
TROUPE_LOCAL_MESSAGE(troupe::change_provider_group)
TROUPE_LOCAL_MESSAGE(troupe::join_by_token)
TROUPE_LOCAL_MESSAGE(troupe::note_login)
