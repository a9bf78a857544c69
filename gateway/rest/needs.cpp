#include "gateway/rest/needs.hpp"

#include "actors/certificates.hpp"
#include "actors/identities.hpp"
#include "actors/images.hpp"
#include "actors/project_keys.hpp"
#include "messages/rights.hpp"

#include <algorithm>

namespace troupe {
namespace {

// The first row that a route's pattern begins with counts. "*": the handler shows only what the caller may see.
struct need {
  std::string_view pattern;
  std::string_view type; // of the thing that the path names
  std::string_view get, post, put, remove;
};
constexpr need rows[] = {
    {"/1.0/resources", "server", "can_view_resources", "", "", ""},
    {"/1.0/metrics", "server", "*", "", "", ""},
    {"/1.0/warnings", "server", "can_view_warnings", "", "can_edit", "can_edit"},
    {"/1.0/projects/{name}", "project", "can_view", "can_edit", "can_edit", "can_delete"},
    {"/1.0/projects", "server", "*", "can_create_projects", "", ""},
    {"/1.0/certificates/{fingerprint}", "certificate", "can_view", "", "can_edit", "can_delete"},
    {"/1.0/certificates", "server", "*", "", "", ""},
    {"/1.0/auth/identities/current", "server", "*", "", "", ""},
    {"/1.0/auth/identities/{method}/{id}", "identity", "can_view", "", "can_edit", "can_delete"},
    {"/1.0/auth/identities", "server", "*", "can_create_identities", "", ""},
    {"/1.0/auth/groups/{name}", "group", "can_view", "can_edit", "can_edit", "can_delete"},
    {"/1.0/auth/groups", "server", "*", "can_create_groups", "", ""},
    {"/1.0/auth/identity-provider-groups/{name}", "identity_provider_group", "can_view", "can_edit", "can_edit",
     "can_delete"},
    {"/1.0/auth/identity-provider-groups", "server", "*", "can_create_identity_provider_groups", "", ""},
    {"/1.0/auth/permissions", "server", "can_view_permissions", "", "", ""},
    {"/1.0/events/subscriptions", "server", "", "", "", ""},
    {"/1.0/events", "project", "*", "", "", ""},
    {"/1.0/operations/{id}/attach", "project", "", "*", "", ""},
    {"/1.0/operations", "project", "*", "", "", "*"},
    {"/1.0/instances/{name}/state", "instance", "can_view", "", "can_update_state", ""},
    {"/1.0/instances/{name}/exec", "instance", "", "can_exec", "", ""},
    {"/1.0/instances/{name}/files", "instance", "can_access_files", "can_access_files", "", "can_access_files"},
    {"/1.0/instances/{name}/sftp", "instance", "can_connect_sftp", "", "", ""},
    {"/1.0/instances/{name}/console", "instance", "can_access_console", "can_access_console", "", "can_access_console"},
    {"/1.0/instances/{name}/snapshots", "instance", "can_view", "can_manage_snapshots", "can_manage_snapshots",
     "can_manage_snapshots"},
    {"/1.0/instances/{name}/retention", "instance", "can_view", "can_manage_snapshots", "", ""},
    {"/1.0/instances/{name}/backups", "instance", "can_manage_backups", "can_manage_backups", "can_manage_backups",
     "can_manage_backups"},
    {"/1.0/instances/{name}/metadata", "instance", "can_view", "can_edit", "can_edit", "can_edit"},
    {"/1.0/instances/{name}/logs/exec-output", "instance", "can_exec", "", "", "can_exec"},
    {"/1.0/instances/{name}/logs", "instance", "can_view", "", "", "can_edit"},
    {"/1.0/instances/{name}", "instance", "can_view", "can_edit", "can_edit", "can_delete"},
    {"/1.0/instances", "project", "*", "can_create_instances", "can_operate_instances", ""},
    {"/1.0/images/aliases/{name...}", "image_alias", "*", "can_edit", "can_edit", "can_delete"},
    {"/1.0/images/aliases", "project", "*", "can_create_image_aliases", "", ""},
    {"/1.0/images/{fingerprint}", "image", "*", "can_edit", "can_edit", "can_delete"},
    {"/1.0/images", "project", "*", "can_create_images", "", ""},
    {"/1.0/profiles/{name}", "profile", "can_view", "can_edit", "can_edit", "can_delete"},
    {"/1.0/profiles", "project", "*", "can_create_profiles", "", ""},
    {"/1.0/networks/{name}", "network", "can_view", "can_edit", "can_edit", "can_delete"},
    {"/1.0/networks", "project", "*", "can_create_networks", "", ""},
    {"/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots", "storage_volume", "can_view",
     "can_manage_snapshots", "can_manage_snapshots", "can_manage_snapshots"},
    {"/1.0/storage-pools/{name}/volumes/{type}/{volume}/backups", "storage_volume", "can_manage_backups",
     "can_manage_backups", "can_manage_backups", "can_manage_backups"},
    {"/1.0/storage-pools/{name}/volumes/{type}/{volume}", "storage_volume", "can_view", "can_edit", "can_edit",
     "can_delete"},
    {"/1.0/storage-pools/{name}/volumes", "project", "*", "can_create_storage_volumes", "", ""},
    {"/1.0/storage-pools/{name}/resources", "project", "*", "", "", ""},
    {"/1.0/storage-pools/{name}", "storage_pool", "*", "", "can_edit", "can_delete"},
    {"/1.0/storage-pools", "server", "*", "can_create_storage_pools", "", ""},
    {"/1.0/sinks", "server", "", "", "", ""},
    {"/1.0", "server", "*", "", "can_edit", ""},
};

bool begins(std::string_view pattern, std::string_view with) {
  if (with == "/1.0") return pattern == with; // not everything below it
  return pattern.starts_with(with) && (pattern.size() == with.size() || pattern[with.size()] == '/');
}

const need* find_need(const route& row) {
  auto at =
      std::find_if(std::begin(rows), std::end(rows), [&](auto& each) { return begins(row.pattern, each.pattern); });
  return at == std::end(rows) ? nullptr : at;
}

std::string_view entitlement_in(const need& row, std::string_view method) {
  if (method == "GET" || method == "HEAD") return row.get;
  return method == "POST" ? row.post : method == "DELETE" ? row.remove : row.put;
}

/// How many parts of the path the thing's name is.
size_t parts_of(std::string_view type) { return type == "storage_volume" ? 3 : type == "identity" ? 2 : 1; }

/// The id of an identity that may be given by its name. Only those are looked at that he has a right on by itself: a
/// right on all of them is one on any name.
std::string identity_id(const principal& who, const snapshot& records, const std::string& method,
                        const std::string& name) {
  if (identity_at(records, method, name)) return name;
  auto begin = method + '/';
  for (auto& one : who.given->all()) {
    if (one.on.type != "identity" || !one.on.name.starts_with(begin)) continue;
    auto id = one.on.name.substr(begin.size());
    auto found = identity_at(records, method, id);
    if (found && found->read([&](auto i) { return view(i.getName()) == name; })) return id;
  }
  return name;
}

/// The whole name of what may be named by its beginning, or otherwise; as it came if there is no such thing.
std::string full_name(const principal& who, const snapshot& records, const std::string& type,
                      const std::string& project, const std::vector<std::string>& names) {
  if (type == "image") return full_fingerprint(records, project, names[0]).value_or(names[0]);
  if (type == "certificate") return full_certificate_fingerprint(records, names[0]).value_or(names[0]);
  if (type == "identity") return identity_key(names[0], identity_id(who, records, names[0], names[1]));
  auto out = names[0];
  for (size_t i = 1; i < parts_of(type); ++i) out += '/' + names[i];
  return out;
}

bool names_project(const need& row) { return row.pattern.starts_with("/1.0/projects/"); }

bool is_named(const need& row, const std::vector<std::string>& names) {
  bool by_place = row.type == "server" || (row.type == "project" && !names_project(row));
  return by_place || names.size() >= parts_of(row.type);
}

entity thing_of(const principal& who, const need& row, std::string_view project, const std::vector<std::string>& names,
                const snapshot& records) {
  std::string type{row.type};
  if (type == "server") return the_server();
  if (type == "project") return the_project(names_project(row) ? names[0] : project);
  auto home = find_entity_type(type)->in_project ? std::string{project} : std::string{};
  auto stored = type == "image" ? home_of(records, home, feature::images) : home;
  return {type, home, full_name(who, records, type, stored, names)};
}

outcome<void> judge_thing(const principal& who, std::string_view entitlement, const entity& thing) {
  if (who.may(entitlement, thing)) return {};
  bool viewable = find_entitlement(thing.type, "can_view") != nullptr; // who may see it is told that he may not
  if (thing.type != "server" && viewable && !who.may("can_view", thing) &&
      !(thing.type == "project" && who.knows(thing.project)))
    return fail(fault::not_found, std::string{find_entity_type(thing.type)->title} + " not found");
  return fail(fault::forbidden, "not authorized");
}

} // namespace

std::string_view need_of(const route& row) {
  auto* found = find_need(row);
  return found ? entitlement_in(*found, row.method) : std::string_view{};
}

outcome<void> judge_need(const principal& who, std::string_view project, const route& row,
                         const std::vector<std::string>& names, const snapshot& records) {
  auto* found = find_need(row);
  auto entitlement = found ? entitlement_in(*found, row.method) : std::string_view{};
  if (entitlement.empty()) return fail(fault::forbidden, "not authorized");
  if (row.who == access::project && !project.empty() && !who.knows(project))
    return fail(fault::not_found, "Project not found");
  if (entitlement == "*" || !is_named(*found, names)) return {};
  return judge_thing(who, entitlement, thing_of(who, *found, project, names, records));
}

} // namespace troupe
