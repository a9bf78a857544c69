#include "actors/permission_upkeep.hpp"

#include "actors/access_change.hpp"
#include "actors/certificates.hpp"
#include "actors/entities.hpp"
#include "actors/project_keys.hpp"
#include "actors/records.hpp"

#include <algorithm>
#include <map>

namespace troupe {
namespace {

/// What becomes of a thing: it has another name, or it is gone.
struct fate {
  entity was;
  std::optional<entity> becomes;
};

struct fates {
  std::map<std::string, fate> by_url;
  bool of_project = false;
};

bool is_in(const batch& what, const write& one) {
  return std::any_of(what.writes.begin(), what.writes.end(),
                     [&](auto& other) { return other.where == one.where && other.key == one.key && other.value; });
}

/// The only other record of its table that the batch writes: then it is the same thing under another name.
std::optional<entity> renamed(const batch& what, const write& gone) {
  std::optional<entity> out;
  for (auto& one : what.writes)
    if (one.where == gone.where && one.value) {
      if (out) return std::nullopt;
      out = entity_at(one.where, one.key);
    }
  return out;
}

fates fates_of(const batch& what) {
  fates out;
  for (auto& one : what.writes) {
    if (one.value || is_in(what, one)) continue;
    if (auto thing = entity_at(one.where, one.key)) {
      out.by_url.emplace(url_of(*thing), fate{*thing, renamed(what, one)});
      out.of_project |= one.where == table::projects;
    }
  }
  return out;
}

// ---- what is in a thing, or part of it, goes with it

bool is_volume_of(const snapshot& records, const entity& volume, const entity& owner) {
  auto is = volume_parts(volume.name);
  if (owner.type == "storage_pool") return is.pool == owner.name;
  if (is.name != owner.name) return false;
  if (owner.type == "instance") return is.type == "container" && volume.project == owner.project;
  return owner.type == "image" && is.type == "image" &&
         home_of(records, volume.project, feature::images) == owner.project;
}

/// What becomes of `thing` by what becomes of another.
std::optional<entity> carried(const snapshot& records, entity thing, const fate& by) {
  if (thing == by.was) return by.becomes;
  if (by.was.type == "project" && thing.project == by.was.project) {
    if (!by.becomes) return std::nullopt;
    thing.project = by.becomes->project;
  } else if (thing.type == "storage_volume" && is_volume_of(records, thing, by.was)) {
    if (!by.becomes) return std::nullopt;
    auto is = volume_parts(thing.name);
    thing.name = std::string{is.pool} + '/' + std::string{is.type} + '/' + by.becomes->name;
    thing.project = by.becomes->project;
  }
  return thing;
}

/// The permission's URL behind the batch; empty: it is gone.
std::string url_behind(const snapshot& records, schema::Permission::Reader one, const fates& gone) {
  auto url = text(one.getUrl());
  if (auto at = gone.by_url.find(url); at != gone.by_url.end())
    return at->second.becomes ? url_of(*at->second.becomes) : std::string{};
  if (!gone.of_project && view(one.getEntityType()) != "storage_volume") return url;
  auto parsed = entity_of(view(one.getEntityType()), url);
  auto thing = parsed ? std::optional{*parsed} : std::nullopt;
  for (auto at = gone.by_url.begin(); thing && at != gone.by_url.end(); ++at)
    thing = carried(records, std::move(*thing), at->second);
  return thing ? url_of(*thing) : std::string{};
}

/// nullopt: nothing is to be changed.
std::optional<group_record> group_behind(const snapshot& records, const group_record& group, const fates& gone) {
  return group.read([&](schema::AuthGroup::Reader g) -> std::optional<group_record> {
    std::vector<std::pair<schema::Permission::Reader, std::string>> kept;
    bool same = true;
    for (auto one : g.getPermissions()) {
      auto url = url_behind(records, one, gone);
      same = same && view(one.getUrl()) == url;
      if (!url.empty()) kept.emplace_back(one, std::move(url));
    }
    if (same) return std::nullopt;
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

std::optional<certificate_record> certificate_behind(const certificate_record& before, const fates& gone) {
  auto projects = before.read([](auto c) { return to_vector(c.getProjects()); });
  std::vector<std::string> kept;
  for (auto& project : projects) {
    auto at = gone.by_url.find(url_of(the_project(project)));
    if (at == gone.by_url.end())
      kept.push_back(project);
    else if (at->second.becomes)
      kept.push_back(at->second.becomes->project);
  }
  if (kept == projects) return std::nullopt;
  return changed(before, [&](auto c) { fill(c.initProjects(static_cast<unsigned>(kept.size())), kept); });
}

// ---- both tables, as the batch leaves them

template <class Schema>
std::map<std::string, message<Schema>> all_of(const snapshot& records, const batch& what, table where) {
  std::map<std::string, message<Schema>> out;
  records.scan(where, "", [&](std::string_view name, std::string_view bytes) {
    out.emplace(name, message<Schema>::from_bytes(bytes));
    return true;
  });
  for (auto& one : what.writes)
    if (one.where == where) {
      out.erase(one.key);
      if (one.value) out.emplace(one.key, message<Schema>::from_bytes(*one.value));
    }
  return out;
}

/// Done by whoever takes the thing away.
message<schema::Event> event_of(const batch& what, std::string_view kind, const entity& whose, std::string_view action,
                                bool narrowed) {
  header nobody;
  nobody.project.clear();
  config_map context;
  if (narrowed) context.emplace(narrowed_mark, "true");
  auto out = lifecycle_event(nobody, kind, whose.name, action, url_of(whose), context);
  if (what.events.empty()) return out;
  return what.events.front().read([&](schema::Event::Reader cause) {
    return changed(out, [&](schema::Event::Builder e) {
      if (cause.hasRequestor()) e.setRequestor(cause.getRequestor());
      e.setOperation(cause.getOperation());
    });
  });
}

bool has_any(const snapshot& records, table where) {
  bool found = false;
  records.scan(where, "", [&](std::string_view, std::string_view) { return !(found = true); });
  return found;
}

} // namespace

bool needs_upkeep(const store& db, const batch& what) {
  bool things = false, projects = false;
  for (auto& one : what.writes) {
    things |= !one.value && entity_at(one.where, one.key);
    projects |= !one.value && one.where == table::projects;
  }
  if (!things) return false;
  auto records = db.read();
  return has_any(records, table::auth_groups) || (projects && has_any(records, table::certificates));
}

batch with_upkeep(const snapshot& records, const batch& what) {
  auto out = what;
  auto gone = fates_of(what);
  for (auto& [name, group] : all_of<schema::AuthGroup>(records, what, table::auth_groups)) {
    auto after = group_behind(records, group, gone);
    if (!after) continue;
    out.writes.push_back(put(table::auth_groups, name, *after));
    out.events.push_back(event_of(what, "auth-group", {"group", {}, name}, "auth-group-updated", gone.of_project));
  }
  if (!gone.of_project) return out;
  for (auto& [name, record] : all_of<schema::Certificate>(records, what, table::certificates)) {
    auto after = certificate_behind(record, gone);
    if (!after) continue;
    out.writes.push_back(put(table::certificates, name, *after));
    out.events.push_back(event_of(what, "certificate", {"certificate", {}, name}, "certificate-updated", true));
  }
  return out;
}

} // namespace troupe
