#include "gateway/trust.hpp"

#include "actors/certificates.hpp"
#include "actors/rights_cache.hpp"
#include "actors/server_keys.hpp"
#include "gateway/door.hpp"

namespace troupe {
namespace {

trust level_of(schema::Certificate::Reader record) {
  if (view(record.getType()) == "metrics") return trust::metrics;
  return record.getRestricted() ? trust::restricted : trust::full;
}

rights_cache& known_rights() {
  static rights_cache all;
  return all;
}

} // namespace

void give_groups(principal& who, const snapshot& records, const identity_record& identity) {
  who.level = trust::granted;
  who.groups = effective_groups(records, identity);
  who.given = known_rights().of(records, who.groups);
}

caller caller_of(const http_peer& peer, const snapshot& records) {
  if (peer.address.empty()) return {unix_principal(peer.uid), {}};
  caller out{{"", "tls", peer.address, ~0u, trust::none}, {}};
  if (!peer.shown) return out;
  if (auto good = judge_client_certificate(*peer.shown, now_ns() / 1'000'000'000); !good) {
    out.doubt = good.error().message;
    return out;
  }
  if (!peer.vouched) {
    out.doubt = "The server's authority does not vouch for the certificate";
    return out;
  }
  auto record = load<schema::Certificate>(records, table::certificates, peer.shown->fingerprint);
  auto identity = load<schema::Identity>(records, table::identities, identity_key("tls", peer.shown->fingerprint));
  bool by_authority = records.get(table::config, "core.trust_ca_certificates") == "true" && peer.has_authority;
  if (!record && !identity && !by_authority) {
    out.doubt = "The certificate is not known";
    return out;
  }
  out.who.username = peer.shown->fingerprint;
  out.until = peer.shown->valid_until + 1;
  out.who.level = trust::full;
  if (identity && !record) give_groups(out.who, records, *identity);
  if (record)
    record->read([&](schema::Certificate::Reader c) {
      out.who.level = level_of(c);
      out.who.projects = to_vector(c.getProjects());
      if (out.who.level == trust::metrics && !c.getRestricted()) out.who.projects = {std::string{every_project}};
    });
  return out;
}

} // namespace troupe
