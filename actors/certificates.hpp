#pragma once

#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/saga.hpp"
#include "messages/certificate.capnp.h"
#include "runtime/certificate.hpp"

namespace troupe {

using certificate_record = message<schema::Certificate>;

struct change_certificate { // -> operation_record
  enum class verb : uint8_t { create, update, patch, remove };
  verb what = verb::create;
  std::shared_ptr<const header> head;
  std::string fingerprint, etag; // of the record, in full; create: unused
  message<schema::CertificatePut> body;
  std::vector<std::string> given; // patch: the fields of `body` that count
};

/// Somebody unknown wants to be trusted, for a password or a token. -> operation_record; forbidden: neither fits;
/// busy: too many wrong ones came from that address.
struct join_by_secret {
  std::shared_ptr<const header> head;
  message<schema::CertificatePut> body; // what he asks for; a token overrules it
  std::string secret;
};

/// A secret that makes whoever brings it trusted, once. -> issued_token. It dies with the daemon, by its expiry, or
/// when its operation is cancelled.
struct issue_token {
  std::shared_ptr<const header> head;
  message<schema::CertificatesPost> request;
  std::string server_fingerprint;
  std::vector<std::string> addresses; // where clients reach the server
};
struct issued_token {
  operation_record record; // of class token, without the secret
  std::string secret;
};

/// The CERTIFICATES actor: who is trusted. A removed or narrowed certificate's connections are cut by the doors, which
/// follow its events.
caf::behavior certificates(caf::event_based_actor* self, services& with);

/// The full fingerprint of the one certificate that begins like this; not_found, invalid (several).
outcome<std::string> full_certificate_fingerprint(const snapshot& records, std::string_view prefix);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::change_certificate)
TROUPE_LOCAL_MESSAGE(troupe::join_by_secret)
TROUPE_LOCAL_MESSAGE(troupe::issue_token)
TROUPE_LOCAL_MESSAGE(troupe::issued_token)
