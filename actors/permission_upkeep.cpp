#include "actors/permission_upkeep.hpp"

#include "actors/entities.hpp"
#include "actors/records.hpp"
#include "messages/identity.capnp.h"

#include <algorithm>
#include <map>

namespace troupe {
namespace {

using group_record = message<schema::AuthGroup>;
using fates = std::map<std::string, std::string>; // URL before -> after, or empty

bool is_in(const batch& what, const write& one) {
  return std::any_of(what.writes.begin(), what.writes.end(),
                     [&](auto& other) { return other.where == one.where && other.key == one.key && other.value; });
}

/// The only other record of its table that the batch writes: then it is the same thing under another name.
std::string new_url(const batch& what, const write& gone) {
  std::string out;
  for (auto& one : what.writes)
    if (one.where == gone.where && one.value) {
      if (!out.empty()) return {};
      out = url_of(*entity_at(one.where, one.key));
    }
  return out;
}

fates fates_of(const batch& what) {
  fates out;
  for (auto& one : what.writes)
    if (!one.value && !is_in(what, one))
      if (auto thing = entity_at(one.where, one.key)) out.emplace(url_of(*thing), new_url(what, one));
  return out;
}

bool concerns(const group_record& group, const fates& gone) {
  return group.read([&](schema::AuthGroup::Reader g) {
    for (auto one : g.getPermissions())
      if (gone.contains(text(one.getUrl()))) return true;
    return false;
  });
}

group_record without(const group_record& group, const fates& gone) {
  return group.read([&](schema::AuthGroup::Reader g) {
    std::vector<std::pair<schema::Permission::Reader, std::string>> kept;
    for (auto one : g.getPermissions()) {
      auto at = gone.find(text(one.getUrl()));
      if (at == gone.end() || !at->second.empty())
        kept.emplace_back(one, at == gone.end() ? text(one.getUrl()) : at->second);
    }
    return group_record::make([&](schema::AuthGroup::Builder out) {
      out.setName(g.getName());
      out.setDescription(g.getDescription());
      auto list = out.initPermissions(static_cast<unsigned>(kept.size()));
      for (unsigned i = 0; i < list.size(); ++i) {
        list.setWithCaveats(i, kept[i].first);
        list[i].setUrl(kept[i].second);
      }
    });
  });
}

} // namespace

bool takes_away(const batch& what) {
  return std::any_of(what.writes.begin(), what.writes.end(),
                     [](auto& one) { return !one.value && entity_at(one.where, one.key); });
}

batch with_upkeep(const snapshot& records, const batch& what) {
  auto out = what;
  auto gone = fates_of(what);
  std::map<std::string, group_record> groups;
  records.scan(table::auth_groups, "", [&](std::string_view name, std::string_view bytes) {
    groups.emplace(name, group_record::from_bytes(bytes));
    return true;
  });
  for (auto& one : what.writes)
    if (one.where == table::auth_groups) {
      groups.erase(one.key);
      if (one.value) groups.emplace(one.key, group_record::from_bytes(*one.value));
    }
  for (auto& [name, group] : groups)
    if (concerns(group, gone)) out.writes.push_back(put(table::auth_groups, name, without(group, gone)));
  return out;
}

} // namespace troupe
