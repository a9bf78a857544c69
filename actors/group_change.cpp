#include "actors/access_change.hpp"
#include "actors/entities.hpp"
#include "actors/names.hpp"

#include <algorithm>

namespace troupe {
namespace {

using verb = change_group::verb;
using plan_ptr = std::shared_ptr<saga>;
constexpr size_t permissions_max = 10'000;

outcome<permission> read_permission(const snapshot& records, schema::Permission::Reader from) {
  auto thing = entity_of(view(from.getEntityType()), view(from.getUrl()));
  if (!thing) return tl::unexpected{thing.error()};
  if (view(from.getEntityType()).empty()) return fail(fault::invalid, "A permission needs an \"entity_type\"");
  if (!find_entitlement(thing->type, view(from.getEntitlement())))
    return fail(fault::invalid,
                "Entity type \"" + thing->type + "\" has no entitlement \"" + text(from.getEntitlement()) + '"');
  if (!exists(records, *thing)) return fail(fault::not_found, "There is no \"" + text(from.getUrl()) + '"');
  return permission{std::move(*thing), text(from.getEntitlement())};
}

/// Canonical, none twice.
outcome<rights> read_permissions(const snapshot& records, capnp::List<schema::Permission>::Reader list) {
  if (list.size() > permissions_max) return fail(fault::too_large, "A group can have 10,000 permissions");
  std::vector<permission> out;
  for (auto each : list) {
    auto one = read_permission(records, each);
    if (!one) return tl::unexpected{one.error()};
    out.push_back(std::move(*one));
  }
  return rights{std::move(out)};
}

group_record make_group(const std::string& name, std::string_view description, const rights& given) {
  return group_record::make([&](schema::AuthGroup::Builder g) {
    g.setName(name);
    g.setDescription(std::string{description});
    auto list = g.initPermissions(static_cast<unsigned>(given.all().size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      auto& one = given.all()[i];
      list[i].setEntityType(one.on.type);
      list[i].setUrl(url_of(one.on));
      list[i].setEntitlement(one.entitlement);
    }
  });
}

plan_ptr begin(const header& from, const char* description, const std::string& name) {
  return access_saga(from, "auth.group", description, "auth-group//" + name);
}

outcome<plan_ptr> create(const snapshot& records, const change_group& request) {
  auto& name = request.name;
  if (auto good = check_access_name("Group", name); !good) return tl::unexpected{good.error()};
  if (records.get(table::auth_groups, name)) return fail(fault::already_exists, "The group exists already");
  return request.body.read([&](schema::AuthGroupPut::Reader put) -> outcome<plan_ptr> {
    if (auto good = check_text("description", view(put.getDescription())); !good) return tl::unexpected{good.error()};
    auto given = read_permissions(records, put.getPermissions());
    if (!given) return tl::unexpected{given.error()};
    if (auto good = check_gift(request.head->who, *given); !good) return tl::unexpected{good.error()};
    auto plan = begin(*request.head, "Creating group", name);
    plan->commit.conditions.push_back(absent(table::auth_groups, name));
    plan->commit.writes.push_back(
        troupe::put(table::auth_groups, name, make_group(name, view(put.getDescription()), *given)));
    plan->commit.events.push_back(access_event(*plan, "group", name, "auth-group-created", false));
    return plan;
  });
}

outcome<plan_ptr> update(const snapshot& records, const change_group& request, const group_record& before) {
  auto& name = request.name;
  auto had = rights_of(records, {name});
  if (auto good = check_gift(request.head->who, had); !good) return tl::unexpected{good.error()};
  auto kept = [&](std::string_view field) { return !is_given(request, field); };
  return request.body.read([&](schema::AuthGroupPut::Reader put) -> outcome<plan_ptr> {
    auto description =
        kept("description") ? before.read([](auto g) { return text(g.getDescription()); }) : text(put.getDescription());
    if (auto good = check_text("description", description); !good) return tl::unexpected{good.error()};
    auto given = kept("permissions") ? outcome<rights>{had} : read_permissions(records, put.getPermissions());
    if (!given) return tl::unexpected{given.error()};
    if (auto good = check_gift(request.head->who, *given); !good) return tl::unexpected{good.error()};
    auto plan = begin(*request.head, "Updating group", name);
    plan->commit.conditions.push_back(unchanged(records, table::auth_groups, name));
    plan->commit.writes.push_back(troupe::put(table::auth_groups, name, make_group(name, description, *given)));
    plan->commit.events.push_back(access_event(*plan, "group", name, "auth-group-updated", !given->cover(had)));
    return plan;
  });
}

/// Whoever has the group in his list has `after` in its place; empty: nothing.
template <class Record>
void replace_in_lists(const snapshot& records, table where, saga& plan, const std::string& group,
                      const std::string& after, std::string_view type, std::string_view action) {
  records.scan(where, "", [&](std::string_view key, std::string_view bytes) {
    auto record = message<Record>::from_bytes(bytes);
    auto groups = record.read([](auto r) { return to_vector(r.getGroups()); });
    auto at = std::find(groups.begin(), groups.end(), group);
    if (at == groups.end()) return true;
    after.empty() ? void(groups.erase(at)) : void(*at = after);
    std::string name{key};
    plan.commit.conditions.push_back(unchanged(records, where, name));
    plan.commit.writes.push_back(troupe::put(where, name, changed(record, [&](auto r) {
                                               fill(r.initGroups(static_cast<unsigned>(groups.size())), groups);
                                             })));
    if (after.empty()) plan.commit.events.push_back(access_event(plan, type, name, action, true));
    return true;
  });
}

void replace_everywhere(const snapshot& records, saga& plan, const std::string& group, const std::string& after) {
  replace_in_lists<schema::Identity>(records, table::identities, plan, group, after, "identity", "identity-updated");
  replace_in_lists<schema::IdentityProviderGroup>(records, table::identity_provider_groups, plan, group, after,
                                                  "identity_provider_group", "identity-provider-group-updated");
}

outcome<plan_ptr> rename(const snapshot& records, const change_group& request, const group_record& before) {
  auto& to = request.new_name;
  if (auto good = check_access_name("Group", to); !good) return tl::unexpected{good.error()};
  if (records.get(table::auth_groups, to)) return fail(fault::already_exists, "The group exists already");
  auto plan = begin(*request.head, "Renaming group", request.name);
  plan->commit.conditions = {unchanged(records, table::auth_groups, request.name), absent(table::auth_groups, to)};
  plan->commit.writes.push_back(erase(table::auth_groups, request.name));
  plan->commit.writes.push_back(troupe::put(table::auth_groups, to, changed(before, [&](auto g) { g.setName(to); })));
  replace_everywhere(records, *plan, request.name, to);
  plan->commit.events.push_back(lifecycle_event(*plan->head, "auth-group", to, "auth-group-renamed",
                                                url_of({"group", {}, to}), {{"old_name", request.name}}));
  return plan;
}

outcome<plan_ptr> remove(const snapshot& records, const change_group& request) {
  auto plan = begin(*request.head, "Deleting group", request.name);
  plan->commit.conditions.push_back(unchanged(records, table::auth_groups, request.name));
  plan->commit.writes.push_back(erase(table::auth_groups, request.name));
  replace_everywhere(records, *plan, request.name, {});
  plan->commit.events.push_back(access_event(*plan, "group", request.name, "auth-group-deleted", false));
  return plan;
}

} // namespace

outcome<plan_ptr> plan_group(const snapshot& records, const change_group& request) {
  if (request.what == verb::create) return create(records, request);
  auto record = load<schema::AuthGroup>(records, table::auth_groups, request.name);
  if (!record) return fail(fault::not_found, "Group not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The group was changed in the meantime (ETag does not match)");
  if (request.what == verb::rename) return rename(records, request, *record);
  if (request.what == verb::remove) return remove(records, request);
  return update(records, request, *record);
}

} // namespace troupe
