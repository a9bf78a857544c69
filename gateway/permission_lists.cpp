#include "gateway/permission_lists.hpp"

#include "actors/entities.hpp"
#include "gateway/identity_access.hpp"

namespace troupe {
namespace {

bool lists(capnp::List<capnp::Text>::Reader list, std::string_view name) {
  for (auto each : list)
    if (view(each) == name) return true;
  return false;
}

} // namespace

group_members members_of_group(const principal& who, const snapshot& records, std::string_view group) {
  group_members out;
  each_identity(records, [&](std::string_view key, const identity_record& one) {
    bool member = one.read([&](schema::Identity::Reader i) { return lists(i.getGroups(), group); });
    if (member && may_view_identity(who, key)) out.identities.emplace_back(key);
  });
  records.scan(table::identity_provider_groups, "", [&](std::string_view name, std::string_view bytes) {
    bool fits = provider_group_record::from_bytes(bytes).read([&](auto m) { return lists(m.getGroups(), group); });
    if (fits && who.may("can_view", {"identity_provider_group", {}, std::string{name}}))
      out.mappings.emplace_back(name);
    return true;
  });
  return out;
}

std::map<permission, std::vector<std::string>> givers(const snapshot& records) {
  std::map<permission, std::vector<std::string>> out;
  records.scan(table::auth_groups, "", [&](std::string_view name, std::string_view) {
    auto given = rights_of(records, {std::string{name}});
    for (auto& one : given.all()) out[one].emplace_back(name);
    return true;
  });
  return out;
}

void each_permission(const principal& who, const snapshot& records, std::string_view type, std::string_view project,
                     const std::function<void(const permission&)>& visit) {
  for (auto& row : entity_types()) {
    if (!type.empty() && row.type != type) continue;
    each_entity(records, row.type, [&](const entity& thing) {
      bool wanted = project.empty() || thing.project == project;
      if (!wanted || !who.may("can_view", thing)) return true;
      for (auto& entitlement : entitlements())
        if (entitlement.type == row.type) visit({thing, std::string{entitlement.name}});
      return true;
    });
  }
}

message<schema::Permission> record_of(const permission& one) {
  return message<schema::Permission>::make([&](schema::Permission::Builder p) {
    p.setEntityType(one.on.type);
    p.setUrl(url_of(one.on));
    p.setEntitlement(one.entitlement);
  });
}

} // namespace troupe
