#include "gateway/identity_access.hpp"

#include "actors/server_keys.hpp"
#include "gateway/tls_listeners.hpp"
#include "messages/time.hpp"
#include "runtime/certificate.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr std::string_view methods[] = {"tls", "oidc"};
constexpr size_t secret_bytes = 32;

outcome<int64_t> token_end(const snapshot& records) {
  auto span = server_text(records, "core.remote_token_expiry");
  if (span.empty()) return 0;
  return later_by(now_ns() / 1'000'000'000, span);
}

} // namespace

outcome<void> check_authentication_method(std::string_view method) {
  if (std::find(std::begin(methods), std::end(methods), method) != std::end(methods)) return {};
  return fail(fault::not_found, "There is no authentication method \"" + std::string{method} + '"');
}

std::string key_of_identity(const identity_record& record) {
  return record.read([](auto i) { return identity_key(view(i.getAuthenticationMethod()), view(i.getId())); });
}

bool may_view_identity(const principal& who, std::string_view key) {
  return who.may("can_view", {"identity", {}, std::string{key}});
}

outcome<identity_record> named_identity(const principal& who, const snapshot& records, const std::string& method,
                                        const std::string& name, std::string_view entitlement) {
  if (auto good = check_authentication_method(method); !good) return tl::unexpected{good.error()};
  auto found = find_identity(records, method, name);
  // Judged once more: the one that he had the right on by its name may be gone, and another have this name.
  if (found && !who.may(entitlement, {"identity", {}, key_of_identity(*found)}))
    return fail(fault::not_found, "Identity not found");
  return found;
}

outcome<std::string> key_of_identity_to_change(const principal& who, const snapshot& records, const std::string& method,
                                               const std::string& name, std::string_view entitlement) {
  auto found = named_identity(who, records, method, name, entitlement);
  if (!found) return tl::unexpected{found.error()};
  auto key = key_of_identity(*found);
  if (records.get(table::identities, key)) return key;
  return fail(fault::invalid, "This identity is a certificate of the trust store: change /1.0/certificates/" +
                                  found->read([](auto i) { return text(i.getId()); }) + " instead");
}

identity_record tls_identity_of(schema::IdentitiesTlsPost::Reader post) {
  return identity_record::make([&](schema::Identity::Builder i) {
    i.setAuthenticationMethod("tls");
    i.setType(std::string{tls_type});
    i.setName(post.getName());
    i.setGroups(post.getGroups());
    i.setTlsCertificate(post.getCertificate());
  });
}

outcome<pending_identity> make_pending_identity(const snapshot& records, tls_listeners& listeners,
                                                schema::IdentitiesTlsPost::Reader post) {
  auto own = listeners.identity();
  if (!own) return tl::unexpected{own.error()};
  auto ends = token_end(records);
  if (!ends) return tl::unexpected{ends.error()};
  auto secret = random_hex(secret_bytes), id = pending_id(secret);
  auto record = changed(tls_identity_of(post), [&](schema::Identity::Builder i) {
    i.setId(id);
    i.setType(std::string{pending_type});
    i.setTokenHash(etag_of(secret));
    i.setTokenExpiresAt(*ends);
  });
  nlohmann::json token{{"client_name", text(post.getName())},
                       {"fingerprint", (*own)->own().fingerprint},
                       {"addresses", reachable_at(listeners.present().https)},
                       {"secret", secret},
                       {"expires_at", *ends ? to_rfc3339(*ends * 1'000'000'000) : "0001-01-01T00:00:00Z"},
                       {"type", tls_type}};
  return pending_identity{std::move(record), std::move(id), std::move(token)};
}

} // namespace troupe
