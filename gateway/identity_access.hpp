#pragma once

#include "actors/identities.hpp"
#include "gateway/door.hpp"
#include "messages/envelope.hpp"

#include <string>

namespace troupe {

class tls_listeners;

// What REST and the bus do alike about identities.

/// not_found: there is no such way to authenticate.
outcome<void> check_authentication_method(std::string_view method);
std::string key_of_identity(const identity_record& record);
bool may_view_identity(const principal& who, std::string_view key);

/// By its id or name, as find_identity (on a blocking thread); not_found also for what the caller has not that right
/// on.
outcome<identity_record> named_identity(const principal& who, const snapshot& records, const std::string& method,
                                        const std::string& name, std::string_view entitlement);
/// The key of the one that is to be changed. invalid: it is a certificate of the trust store, and changed as that.
outcome<std::string> key_of_identity_to_change(const principal& who, const snapshot& records, const std::string& method,
                                               const std::string& name, std::string_view entitlement);

identity_record tls_identity_of(schema::IdentitiesTlsPost::Reader post);

/// An identity that waits for somebody to bring its token. Only `token` has the secret: its hash is what is kept.
struct pending_identity {
  identity_record record;
  std::string id;
  nlohmann::json token; // as LXD's clients know it
};
/// May have to make a key: on a blocking thread.
outcome<pending_identity> make_pending_identity(const snapshot& records, tls_listeners& listeners,
                                                schema::IdentitiesTlsPost::Reader post);

} // namespace troupe
