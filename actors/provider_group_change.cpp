#include "actors/access_change.hpp"

#include <algorithm>

namespace troupe {
namespace {

using verb = change_group::verb;
using plan_ptr = std::shared_ptr<saga>;
constexpr auto records_of = table::identity_provider_groups;

provider_group_record make_record(const std::string& name, const std::vector<std::string>& groups) {
  return provider_group_record::make([&](schema::IdentityProviderGroup::Builder g) {
    g.setName(name);
    fill(g.initGroups(static_cast<unsigned>(groups.size())), groups);
  });
}

plan_ptr begin(const header& from, const char* description, const std::string& name) {
  return access_saga(from, "auth.mapping", description, "identity-provider-group//" + name);
}

outcome<void> check_mapping(const snapshot& records, const principal& who, const std::vector<std::string>& groups) {
  if (auto good = check_groups(records, groups); !good) return good;
  return check_gift(who, rights_of(records, groups));
}

outcome<plan_ptr> create(const snapshot& records, const change_provider_group& request) {
  auto& name = request.name;
  if (auto good = check_access_name("Identity provider group", name); !good) return tl::unexpected{good.error()};
  if (records.get(records_of, name)) return fail(fault::already_exists, "The identity provider group exists already");
  auto groups = request.body.read([](auto put) { return to_vector(put.getGroups()); });
  if (auto good = check_mapping(records, request.head->who, groups); !good) return tl::unexpected{good.error()};
  auto plan = begin(*request.head, "Creating identity provider group", name);
  plan->commit.conditions.push_back(absent(records_of, name));
  expect_groups(records, *plan, groups);
  plan->commit.writes.push_back(put(records_of, name, make_record(name, groups)));
  plan->commit.events.push_back(
      access_event(*plan, "identity_provider_group", name, "identity-provider-group-created", false));
  return plan;
}

outcome<plan_ptr> update(const snapshot& records, const change_provider_group& request,
                         const std::vector<std::string>& had) {
  auto groups =
      is_given(request, "groups") ? request.body.read([](auto put) { return to_vector(put.getGroups()); }) : had;
  if (auto good = check_mapping(records, request.head->who, had); !good) return tl::unexpected{good.error()};
  if (auto good = check_mapping(records, request.head->who, groups); !good) return tl::unexpected{good.error()};
  auto plan = begin(*request.head, "Updating identity provider group", request.name);
  plan->commit.conditions.push_back(unchanged(records, records_of, request.name));
  expect_groups(records, *plan, groups);
  plan->commit.writes.push_back(put(records_of, request.name, make_record(request.name, groups)));
  bool narrowed = !rights_of(records, groups).cover(rights_of(records, had));
  plan->commit.events.push_back(
      access_event(*plan, "identity_provider_group", request.name, "identity-provider-group-updated", narrowed));
  return plan;
}

// Under another name it maps another group of the provider's: whoever was in the old one loses what it gave.
outcome<plan_ptr> rename(const snapshot& records, const change_provider_group& request,
                         const std::vector<std::string>& had) {
  auto& to = request.new_name;
  if (auto good = check_access_name("Identity provider group", to); !good) return tl::unexpected{good.error()};
  if (records.get(records_of, to)) return fail(fault::already_exists, "The identity provider group exists already");
  if (auto good = check_mapping(records, request.head->who, had); !good) return tl::unexpected{good.error()};
  auto plan = begin(*request.head, "Renaming identity provider group", request.name);
  plan->commit.conditions = {unchanged(records, records_of, request.name), absent(records_of, to)};
  plan->commit.writes.push_back(erase(records_of, request.name));
  expect_groups(records, *plan, had);
  plan->commit.writes.push_back(put(records_of, to, make_record(to, had)));
  plan->commit.events.push_back(lifecycle_event(
      *plan->head, "identity-provider-group", to, "identity-provider-group-renamed",
      url_of({"identity_provider_group", {}, to}), {{"old_name", request.name}, {std::string{narrowed_mark}, "true"}}));
  return plan;
}

plan_ptr remove(const snapshot& records, const change_provider_group& request) {
  auto plan = begin(*request.head, "Deleting identity provider group", request.name);
  plan->commit.conditions.push_back(unchanged(records, records_of, request.name));
  plan->commit.writes.push_back(erase(records_of, request.name));
  plan->commit.events.push_back(
      access_event(*plan, "identity_provider_group", request.name, "identity-provider-group-deleted", true));
  return plan;
}

} // namespace

outcome<plan_ptr> plan_provider_group(const snapshot& records, const change_provider_group& request) {
  if (request.what == verb::create) return create(records, request);
  auto record = load<schema::IdentityProviderGroup>(records, records_of, request.name);
  if (!record) return fail(fault::not_found, "Identity provider group not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The identity provider group was changed in the meantime (ETag does not match)");
  auto had = record->read([](auto g) { return to_vector(g.getGroups()); });
  if (request.what == verb::rename) return rename(records, request, had);
  if (request.what == verb::remove) return remove(records, request);
  return update(records, request, had);
}

} // namespace troupe
