#include "actors/access_change.hpp"

#include "actors/names.hpp"
#include "runtime/certificate.hpp"

#include <algorithm>

namespace troupe {
namespace {

using verb = change_identity::verb;
using plan_ptr = std::shared_ptr<saga>;
constexpr auto records_of = table::identities;
constexpr size_t identities_max = 100'000; // that the provider may bring

plan_ptr begin(const header& from, const char* description, const std::string& key) {
  return access_saga(from, "auth.identity", description, "identity//" + key);
}

std::string key_of(const identity_record& record) {
  return record.read([](auto i) { return identity_key(view(i.getAuthenticationMethod()), view(i.getId())); });
}

plan_ptr plan_new(const header& from, const identity_record& record) {
  auto key = key_of(record);
  auto plan = begin(from, "Creating identity", key);
  plan->commit.conditions.push_back(absent(records_of, key));
  plan->commit.writes.push_back(put(records_of, key, record));
  plan->commit.events.push_back(access_event(*plan, "identity", key, "identity-created", false));
  return plan;
}

bool is_pending(schema::Identity::Reader i) { return view(i.getType()) == pending_type; }

outcome<void> check_groups_of(const snapshot& records, const principal& who, const std::vector<std::string>& groups) {
  if (auto good = check_groups(records, groups); !good) return good;
  return check_gift(who, rights_of(records, groups));
}

/// A certificate that nobody else has: neither the trust store nor another identity.
outcome<certificate> new_certificate(const snapshot& records, std::string_view given) {
  auto parsed = usable_certificate(given);
  if (!parsed) return parsed;
  if (records.get(table::certificates, parsed->fingerprint) ||
      records.get(records_of, identity_key("tls", parsed->fingerprint)))
    return fail(fault::already_exists, "The certificate is trusted already");
  return parsed;
}

identity_record with_certificate(const identity_record& before, const certificate& shown) {
  return changed(before, [&](schema::Identity::Builder i) {
    i.setId(shown.fingerprint);
    i.setType(std::string{tls_type});
    i.setTlsCertificate(to_pem(shown));
    i.disownTokenHash();
    i.setTokenExpiresAt(0);
  });
}

void make_fit(saga& plan, const certificate& shown) {
  plan.commit.conditions.push_back(absent(table::certificates, shown.fingerprint));
}

outcome<plan_ptr> create(const snapshot& records, const change_identity& request) {
  return request.record.read([&](schema::Identity::Reader i) -> outcome<plan_ptr> {
    if (auto good = check_access_name("Identity", view(i.getName())); !good) return tl::unexpected{good.error()};
    if (auto good = check_groups_of(records, request.head->who, to_vector(i.getGroups())); !good)
      return tl::unexpected{good.error()};
    auto record = request.record;
    auto shown = is_pending(i) ? outcome<certificate>{} : new_certificate(records, view(i.getTlsCertificate()));
    if (!shown) return tl::unexpected{shown.error()};
    if (!is_pending(i)) record = with_certificate(record, *shown);
    auto plan = plan_new(*request.head, record);
    if (!is_pending(i)) make_fit(*plan, *shown);
    expect_groups(records, *plan, to_vector(i.getGroups()));
    return plan;
  });
}

/// Under the fingerprint of another certificate it is another record.
outcome<void> replace_certificate(const snapshot& records, saga& plan, identity_record& after, std::string& key,
                                  std::string_view certificate_given) {
  auto [pending, method, pem] = after.read([](schema::Identity::Reader i) {
    return std::tuple{is_pending(i), text(i.getAuthenticationMethod()), text(i.getTlsCertificate())};
  });
  auto given = decode_certificate(certificate_given);
  if (given && !pem.empty() && to_pem(*given) == pem) return {};
  if (method != "tls" || pending)
    return fail(fault::invalid, "Only an identity with a certificate can be given another");
  auto shown = new_certificate(records, certificate_given);
  if (!shown) return tl::unexpected{shown.error()};
  after = with_certificate(after, *shown);
  plan.commit.writes.push_back(erase(records_of, key));
  key = key_of(after);
  plan.commit.conditions.push_back(absent(records_of, key));
  make_fit(plan, *shown);
  return {};
}

outcome<plan_ptr> update(const snapshot& records, const change_identity& request, const identity_record& before) {
  auto had = before.read([](auto i) { return to_vector(i.getGroups()); });
  if (auto good = check_gift(request.head->who, rights_of(records, had)); !good) return tl::unexpected{good.error()};
  return request.body.read([&](schema::IdentityPut::Reader put) -> outcome<plan_ptr> {
    auto groups = is_given(request, "groups") ? to_vector(put.getGroups()) : had;
    if (auto good = check_groups_of(records, request.head->who, groups); !good) return tl::unexpected{good.error()};
    auto plan = begin(*request.head, "Updating identity", request.key);
    plan->commit.conditions.push_back(unchanged(records, records_of, request.key));
    expect_groups(records, *plan, groups);
    auto after = changed(before, [&](auto i) { fill(i.initGroups(static_cast<unsigned>(groups.size())), groups); });
    auto key = request.key;
    if (put.getTlsCertificate().size() > 0)
      if (auto good = replace_certificate(records, *plan, after, key, view(put.getTlsCertificate())); !good)
        return tl::unexpected{good.error()};
    plan->commit.writes.push_back(troupe::put(records_of, key, after));
    bool narrowed = key != request.key || !rights_of(records, groups).cover(rights_of(records, had));
    plan->commit.events.push_back(access_event(*plan, "identity", request.key, "identity-updated", narrowed));
    return plan;
  });
}

plan_ptr remove(const snapshot& records, const change_identity& request) {
  auto plan = begin(*request.head, "Deleting identity", request.key);
  plan->commit.conditions.push_back(unchanged(records, records_of, request.key));
  plan->commit.writes.push_back(erase(records_of, request.key));
  plan->commit.events.push_back(access_event(*plan, "identity", request.key, "identity-deleted", true));
  return plan;
}

identity_record record_of(const note_login& request, const std::vector<std::string>& groups) {
  return identity_record::make([&](schema::Identity::Builder i) {
    i.setAuthenticationMethod("oidc");
    i.setType(std::string{oidc_type});
    i.setId(request.email);
    i.setName(request.name);
    i.setSubject(request.subject);
    i.setToldAt(request.told_at);
    fill(i.initGroups(static_cast<unsigned>(groups.size())), groups);
    fill(i.initProviderGroups(static_cast<unsigned>(request.provider_groups.size())), request.provider_groups);
  });
}

std::optional<identity_record> pending_with(const snapshot& records, const std::string& secret) {
  auto record = load<schema::Identity>(records, records_of, identity_key("tls", pending_id(secret)));
  bool fits = record && record->read([&](schema::Identity::Reader i) {
    return is_pending(i) && view(i.getTokenHash()) == etag_of(secret);
  });
  return fits ? record : std::nullopt;
}

size_t count_of(const snapshot& records) {
  size_t out = 0;
  records.scan(records_of, "oidc/", [&](std::string_view, std::string_view) { return ++out < identities_max; });
  return out;
}

} // namespace

outcome<plan_ptr> plan_identity(const snapshot& records, const change_identity& request) {
  if (request.what == verb::create) return create(records, request);
  auto record = load<schema::Identity>(records, records_of, request.key);
  if (!record) return fail(fault::not_found, "Identity not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The identity was changed in the meantime (ETag does not match)");
  if (request.what == verb::remove) return remove(records, request);
  return update(records, request, *record);
}

std::string pending_id(const std::string& secret) {
  auto id = etag_of(secret).substr(0, 36); // as a UUID of version 8: one's own
  for (auto at : {8, 13, 18, 23}) id[at] = '-';
  id[14] = '8';
  id[19] = 'a';
  return id;
}

bool is_token_of_identity(const snapshot& records, const std::string& secret) {
  return pending_with(records, secret).has_value();
}

outcome<plan_ptr> plan_join(const snapshot& records, const join_by_token& request) {
  auto pending = pending_with(records, request.secret);
  auto expires = pending ? pending->read([](auto i) { return i.getTokenExpiresAt(); }) : 0;
  if (!pending || (expires > 0 && expires * 1'000'000'000 < now_ns())) return fail(fault::forbidden, "not authorized");
  auto shown = new_certificate(records, request.certificate);
  if (!shown) return tl::unexpected{shown.error()};
  auto was = key_of(*pending);
  auto after = with_certificate(*pending, *shown);
  auto key = key_of(after);
  auto plan = begin(*request.head, "Updating identity", key);
  plan->commit.conditions = {unchanged(records, records_of, was), absent(records_of, key)};
  make_fit(*plan, *shown);
  plan->commit.writes = {erase(records_of, was), put(records_of, key, after)};
  plan->commit.events.push_back(access_event(*plan, "identity", key, "identity-updated", false));
  return plan;
}

outcome<plan_ptr> plan_login(const snapshot& records, const note_login& request) {
  if (auto good = check_access_name("Identity", request.email); !good) return tl::unexpected{good.error()};
  auto key = identity_key("oidc", request.email);
  auto before = load<schema::Identity>(records, records_of, key);
  if (!before) {
    if (count_of(records) >= identities_max) return fail(fault::too_large, "There are too many identities already");
    return plan_new(*request.head, record_of(request, {}));
  }
  auto [subject, groups, told_at] = before->read([](schema::Identity::Reader i) {
    return std::tuple{text(i.getSubject()), to_vector(i.getGroups()), i.getToldAt()};
  });
  if (subject != request.subject)
    return fail(fault::forbidden, "The identity provider says that this e-mail address is now another person's; an "
                                  "administrator has to delete the identity of before");
  if (request.told_at < told_at)
    return fail(fault::precondition, "The identity provider has said something newer of this identity");
  auto after = record_of(request, groups);
  auto plan = begin(*request.head, "Updating identity", key);
  plan->commit.conditions.push_back(unchanged(records, records_of, key));
  plan->commit.writes.push_back(put(records_of, key, after));
  bool narrowed = !rights_of(records, effective_groups(records, after))
                       .cover(rights_of(records, effective_groups(records, *before)));
  plan->commit.events.push_back(access_event(*plan, "identity", key, "identity-updated", narrowed));
  return plan;
}

} // namespace troupe
