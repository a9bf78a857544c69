#include "actors/identities.hpp"

#include "actors/access_change.hpp"
#include "actors/join_attempts.hpp"
#include "actors/security_event.hpp"
#include "actors/store_actor.hpp"
#include "messages/certificate.capnp.h"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

struct access_data {
  services& with;
  caf::event_based_actor* self;
  join_attempts attempts;
};
using data_ptr = std::shared_ptr<access_data>;
using plan_outcome = outcome<std::shared_ptr<saga>>;

caf::result<operation_record> begin(const data_ptr& me, const plan_outcome& plan) {
  if (!plan) return to_caf(plan.error());
  return hand_over<operation_record>(me->self, me->with.find(role::operations), begin_saga{*plan});
}

caf::result<operation_record> join(const data_ptr& me, const join_by_token& request) {
  auto& who = request.head->who;
  if (!me->attempts.may_try(who.address, me->self->clock().now()))
    return to_caf({fault::busy, "Too many wrong passwords or tokens came from your address; try again in a minute"});
  auto plan = plan_join(me->with.db.read(), request);
  if (plan || plan.error().code != fault::forbidden) return begin(me, plan);
  me->attempts.was_wrong(who.address, me->self->clock().now());
  batch told;
  told.events.push_back(
      security_event(*request.head, "join-refused", schema::Event::Level::WARNING, "A wrong token was given"));
  propose_quietly(me->self, me->with, std::move(told));
  return to_caf(plan.error());
}

template <class Request, plan_outcome (*Plan)(const snapshot&, const Request&)>
auto planned(const data_ptr& me) {
  return [me](const Request& request) { return begin(me, Plan(me->with.db.read(), request)); };
}

} // namespace

caf::behavior identities(caf::event_based_actor* self, services& with) {
  auto me = std::make_shared<access_data>(access_data{with, self, {}});
  return {
      planned<change_identity, plan_identity>(me),
      planned<change_group, plan_group>(me),
      planned<change_provider_group, plan_provider_group>(me),
      planned<note_login, plan_login>(me),
      [me](const join_by_token& request) { return join(me, request); },
  };
}

std::vector<std::string> effective_groups(const snapshot& records, const identity_record& identity) {
  auto [out, theirs] = identity.read([](schema::Identity::Reader i) {
    return std::pair{to_vector(i.getGroups()), to_vector(i.getProviderGroups())};
  });
  for (auto& name : theirs)
    if (auto mapping = load<schema::IdentityProviderGroup>(records, table::identity_provider_groups, name))
      mapping->read([&, &groups = out](auto m) {
        for (auto group : m.getGroups()) groups.push_back(text(group));
      });
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

rights rights_of(const snapshot& records, const std::vector<std::string>& groups) {
  std::vector<permission> all;
  for (auto& name : groups)
    if (auto group = load<schema::AuthGroup>(records, table::auth_groups, name))
      group->read([&](schema::AuthGroup::Reader g) {
        for (auto one : g.getPermissions())
          if (auto thing = entity_of(view(one.getEntityType()), view(one.getUrl())))
            all.push_back({std::move(*thing), text(one.getEntitlement())});
      });
  return rights{std::move(all)};
}

identity_record identity_of_certificate(const snapshot& records, std::string_view fingerprint) {
  auto record = load<schema::Certificate>(records, table::certificates, fingerprint);
  return identity_record::make([&](schema::Identity::Builder i) {
    i.setAuthenticationMethod("tls");
    i.setId(std::string{fingerprint});
    if (!record) return;
    record->read([&](schema::Certificate::Reader c) {
      auto word = view(c.getType()) == "metrics" ? "Metrics certificate" : "Client certificate";
      i.setType(std::string{word} + (c.getRestricted() ? " (restricted)" : " (unrestricted)"));
      i.setName(c.getName());
      i.setTlsCertificate(c.getCertificate());
    });
  });
}

void each_identity(const snapshot& records,
                   const std::function<void(std::string_view key, const identity_record&)>& visit) {
  records.scan(table::identities, "", [&](std::string_view key, std::string_view bytes) {
    visit(key, identity_record::from_bytes(bytes));
    return true;
  });
  records.scan(table::certificates, "", [&](std::string_view fingerprint, std::string_view) {
    visit(identity_key("tls", fingerprint), identity_of_certificate(records, fingerprint));
    return true;
  });
}

std::optional<identity_record> identity_at(const snapshot& records, std::string_view method, std::string_view id) {
  if (auto record = load<schema::Identity>(records, table::identities, identity_key(method, id))) return record;
  if (method == "tls" && !id.empty() && records.get(table::certificates, id))
    return identity_of_certificate(records, id);
  return std::nullopt;
}

outcome<identity_record> find_identity(const snapshot& records, std::string_view method, std::string_view name) {
  if (auto exact = identity_at(records, method, name)) return *exact;
  std::vector<identity_record> found;
  each_identity(records, [&](std::string_view, const identity_record& one) {
    bool fits = one.read([&](schema::Identity::Reader i) {
      return view(i.getAuthenticationMethod()) == method && (view(i.getId()) == name || view(i.getName()) == name);
    });
    if (fits) found.push_back(one);
  });
  if (found.empty()) return fail(fault::not_found, "Identity not found");
  if (found.size() > 1) return fail(fault::invalid, "More than one identity has this name");
  return found.front();
}

} // namespace troupe
