#include "gateway/rest/routes.hpp"

#include "gateway/rest/needs.hpp"
#include "gateway/rest/volume_snapshots.hpp"

#include <algorithm>

namespace troupe {
namespace {

// The order does not matter but for "{x...}", which comes after what is more special.
constexpr route rows[] = {
    {"GET", "/", access::open, get_root},
    {"GET", "/1.0", access::open, get_server},
    {"PUT", "/1.0", access::admin, put_server},
    {"PATCH", "/1.0", access::admin, patch_server},
    {"GET", "/1.0/resources", access::project, get_resources},
    {"GET", "/1.0/metrics", access::metrics, get_metrics},
    {"GET", "/1.0/projects", access::trusted, get_projects},
    {"POST", "/1.0/projects", access::admin, post_projects},
    {"GET", "/1.0/projects/{name}", access::trusted, get_project},
    {"PUT", "/1.0/projects/{name}", access::admin, put_project},
    {"PATCH", "/1.0/projects/{name}", access::admin, patch_project},
    {"POST", "/1.0/projects/{name}", access::admin, post_project},
    {"DELETE", "/1.0/projects/{name}", access::admin, delete_project},
    {"GET", "/1.0/projects/{name}/state", access::trusted, get_project_state},
    {"GET", "/1.0/certificates", access::trusted, get_certificates},
    {"POST", "/1.0/certificates", access::open, post_certificates, false, false},
    {"GET", "/1.0/certificates/{fingerprint}", access::trusted, get_certificate},
    {"PUT", "/1.0/certificates/{fingerprint}", access::trusted, put_certificate},
    {"PATCH", "/1.0/certificates/{fingerprint}", access::trusted, patch_certificate},
    {"DELETE", "/1.0/certificates/{fingerprint}", access::admin, delete_certificate},
    {"GET", "/1.0/auth/identities", access::admin, get_identities},
    {"GET", "/1.0/auth/identities/current", access::trusted, get_current_identity},
    {"POST", "/1.0/auth/identities/tls", access::open, post_tls_identities, false, false},
    {"GET", "/1.0/auth/identities/{method}", access::admin, get_identities_of_method},
    {"GET", "/1.0/auth/identities/{method}/{id}", access::admin, get_identity},
    {"PUT", "/1.0/auth/identities/{method}/{id}", access::admin, put_identity},
    {"PATCH", "/1.0/auth/identities/{method}/{id}", access::admin, patch_identity},
    {"DELETE", "/1.0/auth/identities/{method}/{id}", access::admin, delete_identity},
    {"GET", "/1.0/auth/groups", access::admin, get_auth_groups},
    {"POST", "/1.0/auth/groups", access::admin, post_auth_groups},
    {"GET", "/1.0/auth/groups/{name}", access::admin, get_auth_group},
    {"PUT", "/1.0/auth/groups/{name}", access::admin, put_auth_group},
    {"PATCH", "/1.0/auth/groups/{name}", access::admin, patch_auth_group},
    {"POST", "/1.0/auth/groups/{name}", access::admin, post_auth_group},
    {"DELETE", "/1.0/auth/groups/{name}", access::admin, delete_auth_group},
    {"GET", "/1.0/auth/identity-provider-groups", access::admin, get_provider_groups},
    {"POST", "/1.0/auth/identity-provider-groups", access::admin, post_provider_groups},
    {"GET", "/1.0/auth/identity-provider-groups/{name}", access::admin, get_provider_group},
    {"PUT", "/1.0/auth/identity-provider-groups/{name}", access::admin, put_provider_group},
    {"PATCH", "/1.0/auth/identity-provider-groups/{name}", access::admin, patch_provider_group},
    {"POST", "/1.0/auth/identity-provider-groups/{name}", access::admin, post_provider_group},
    {"DELETE", "/1.0/auth/identity-provider-groups/{name}", access::admin, delete_provider_group},
    {"GET", "/1.0/auth/permissions", access::admin, get_permissions},
    {"GET", "/1.0/events", access::project, events_websocket},
    {"GET", "/1.0/events/history", access::project, get_event_history},
    {"GET", "/1.0/events/subscriptions", access::admin, get_event_subscriptions},
    {"GET", "/1.0/events/subscriptions/{name}", access::admin, get_event_subscription},
    {"DELETE", "/1.0/events/subscriptions/{name}", access::admin, delete_event_subscription},
    {"GET", "/1.0/operations", access::project, get_operations},
    {"GET", "/1.0/operations/{id}", access::project, get_operation},
    {"DELETE", "/1.0/operations/{id}", access::project, delete_operation, false, false},
    {"GET", "/1.0/operations/{id}/wait", access::project, wait_operation},
    {"POST", "/1.0/operations/{id}/attach", access::project, attach_operation, false, false},
    {"GET", "/1.0/operations/{id}/websocket", access::open, operation_websocket},
    {"GET", "/1.0/instances", access::project, get_instances},
    {"POST", "/1.0/instances", access::project, post_instances, false, true, true},
    {"PUT", "/1.0/instances", access::project, put_instances, false, false},
    {"GET", "/1.0/instances/{name}", access::project, get_instance},
    {"PUT", "/1.0/instances/{name}", access::project, put_instance},
    {"PATCH", "/1.0/instances/{name}", access::project, patch_instance},
    {"POST", "/1.0/instances/{name}", access::project, post_instance},
    {"DELETE", "/1.0/instances/{name}", access::project, delete_instance_},
    {"GET", "/1.0/instances/{name}/state", access::project, get_instance_state},
    {"PUT", "/1.0/instances/{name}/state", access::project, put_instance_state},
    {"GET", "/1.0/instances/{name}/metadata", access::project, get_metadata},
    {"PUT", "/1.0/instances/{name}/metadata", access::project, put_metadata, false, false},
    {"PATCH", "/1.0/instances/{name}/metadata", access::project, patch_metadata, false, false},
    {"GET", "/1.0/instances/{name}/metadata/templates", access::project, get_templates},
    {"POST", "/1.0/instances/{name}/metadata/templates", access::project, post_template, false, false},
    {"DELETE", "/1.0/instances/{name}/metadata/templates", access::project, delete_template, false, false},
    {"GET", "/1.0/instances/{name}/console", access::project, get_instance_console},
    {"POST", "/1.0/instances/{name}/console", access::project, post_console, false, false},
    {"DELETE", "/1.0/instances/{name}/console", access::project, delete_instance_console, false, false},
    {"GET", "/1.0/instances/{name}/snapshots", access::project, get_snapshots},
    {"POST", "/1.0/instances/{name}/snapshots", access::project, post_snapshots},
    {"GET", "/1.0/instances/{name}/snapshots/{snapshot}", access::project, get_snapshot},
    {"PUT", "/1.0/instances/{name}/snapshots/{snapshot}", access::project, put_snapshot},
    {"PATCH", "/1.0/instances/{name}/snapshots/{snapshot}", access::project, put_snapshot},
    {"POST", "/1.0/instances/{name}/snapshots/{snapshot}", access::project, post_snapshot},
    {"DELETE", "/1.0/instances/{name}/snapshots/{snapshot}", access::project, delete_snapshot},
    {"GET", "/1.0/instances/{name}/retention", access::project, get_retention},
    {"POST", "/1.0/instances/{name}/retention", access::project, post_retention},
    {"POST", "/1.0/instances/{name}/rebuild", access::project, post_rebuild},
    {"GET", "/1.0/instances/{name}/backups", access::project, get_backups},
    {"POST", "/1.0/instances/{name}/backups", access::project, post_backups},
    {"GET", "/1.0/instances/{name}/backups/{backup}", access::project, get_backup},
    {"POST", "/1.0/instances/{name}/backups/{backup}", access::project, post_backup},
    {"DELETE", "/1.0/instances/{name}/backups/{backup}", access::project, delete_backup},
    {"GET", "/1.0/instances/{name}/backups/{backup}/export", access::project, export_backup},
    {"GET", "/1.0/instances/{name}/logs", access::project, get_instance_logs},
    {"GET", "/1.0/instances/{name}/logs/exec-output", access::project, get_exec_outputs},
    {"GET", "/1.0/instances/{name}/logs/exec-output/{file}", access::project, get_exec_output},
    {"DELETE", "/1.0/instances/{name}/logs/exec-output/{file}", access::project, delete_exec_output, false, false},
    {"GET", "/1.0/instances/{name}/logs/{file}", access::project, get_instance_log},
    {"DELETE", "/1.0/instances/{name}/logs/{file}", access::project, delete_instance_log, false, false},
    {"POST", "/1.0/instances/{name}/exec", access::project, post_exec, false, false},
    {"GET", "/1.0/instances/{name}/files", access::project, get_file},
    {"HEAD", "/1.0/instances/{name}/files", access::project, get_file},
    {"POST", "/1.0/instances/{name}/files", access::project, post_file, true, false},
    {"DELETE", "/1.0/instances/{name}/files", access::project, delete_file, false, false},
    {"GET", "/1.0/instances/{name}/sftp", access::project, get_sftp},
    {"GET", "/1.0/images", access::open, get_images},
    {"POST", "/1.0/images", access::project, post_images, true},
    {"GET", "/1.0/images/aliases", access::open, get_aliases},
    {"POST", "/1.0/images/aliases", access::project, post_aliases},
    {"GET", "/1.0/images/aliases/{name...}", access::open, get_alias},
    {"PUT", "/1.0/images/aliases/{name...}", access::project, put_alias},
    {"PATCH", "/1.0/images/aliases/{name...}", access::project, patch_alias},
    {"POST", "/1.0/images/aliases/{name...}", access::project, post_alias},
    {"DELETE", "/1.0/images/aliases/{name...}", access::project, delete_alias},
    {"GET", "/1.0/images/{fingerprint}", access::open, get_image},
    {"PUT", "/1.0/images/{fingerprint}", access::project, put_image},
    {"PATCH", "/1.0/images/{fingerprint}", access::project, patch_image},
    {"DELETE", "/1.0/images/{fingerprint}", access::project, delete_image_},
    {"GET", "/1.0/images/{fingerprint}/export", access::open, export_image},
    {"GET", "/1.0/profiles", access::project, get_profiles},
    {"POST", "/1.0/profiles", access::project, post_profiles},
    {"GET", "/1.0/profiles/{name}", access::project, get_profile},
    {"PUT", "/1.0/profiles/{name}", access::project, put_profile},
    {"PATCH", "/1.0/profiles/{name}", access::project, patch_profile},
    {"POST", "/1.0/profiles/{name}", access::project, post_profile},
    {"DELETE", "/1.0/profiles/{name}", access::project, delete_profile},
    {"GET", "/1.0/networks", access::project, get_networks},
    {"POST", "/1.0/networks", access::admin, post_networks},
    {"GET", "/1.0/networks/{name}", access::project, get_network},
    {"PUT", "/1.0/networks/{name}", access::admin, put_network},
    {"PATCH", "/1.0/networks/{name}", access::admin, patch_network},
    {"POST", "/1.0/networks/{name}", access::admin, post_network},
    {"DELETE", "/1.0/networks/{name}", access::admin, delete_network_},
    {"GET", "/1.0/networks/{name}/leases", access::project, get_leases},
    {"GET", "/1.0/networks/{name}/state", access::project, get_network_state},
    {"GET", "/1.0/sinks", access::admin, get_sinks},
    {"POST", "/1.0/sinks", access::admin, post_sinks},
    {"GET", "/1.0/sinks/{name}", access::admin, get_sink},
    {"PUT", "/1.0/sinks/{name}", access::admin, put_sink},
    {"PATCH", "/1.0/sinks/{name}", access::admin, patch_sink},
    {"DELETE", "/1.0/sinks/{name}", access::admin, delete_sink},
    {"GET", "/1.0/sinks/{name}/state", access::admin, get_sink_state},
    {"GET", "/1.0/sinks/{name}/dead-letters", access::admin, get_dead_letters},
    {"DELETE", "/1.0/sinks/{name}/dead-letters", access::admin, delete_dead_letters_},
    {"GET", "/1.0/storage-pools", access::project, get_pools},
    {"POST", "/1.0/storage-pools", access::admin, post_pools},
    {"GET", "/1.0/storage-pools/{name}", access::project, get_pool},
    {"PUT", "/1.0/storage-pools/{name}", access::admin, put_pool},
    {"PATCH", "/1.0/storage-pools/{name}", access::admin, patch_pool},
    {"DELETE", "/1.0/storage-pools/{name}", access::admin, delete_pool_},
    {"GET", "/1.0/storage-pools/{name}/resources", access::project, get_pool_resources},
    {"GET", "/1.0/storage-pools/{name}/volumes", access::project, get_volumes},
    {"POST", "/1.0/storage-pools/{name}/volumes", access::project, post_volumes},
    {"GET", "/1.0/storage-pools/{name}/volumes/{type}", access::project, get_volumes_of_type},
    {"POST", "/1.0/storage-pools/{name}/volumes/{type}", access::project, post_volumes_of_type},
    {"GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", access::project, get_volume},
    {"PUT", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", access::project, put_volume},
    {"PATCH", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", access::project, patch_volume},
    {"POST", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", access::project, post_volume},
    {"DELETE", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", access::project, delete_volume_},
    {"GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/state", access::project, get_volume_state},
    {"GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots", access::project, get_volume_snapshots},
    {"POST", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots", access::project, post_volume_snapshots},
    {"GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", access::project,
     get_volume_snapshot},
    {"PUT", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", access::project,
     put_volume_snapshot},
    {"PATCH", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", access::project,
     patch_volume_snapshot},
    {"POST", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", access::project,
     post_volume_snapshot},
    {"DELETE", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", access::project,
     delete_volume_snapshot},
    {"GET", "/1.0/warnings", access::admin, get_warnings},
    {"GET", "/1.0/warnings/{id}", access::admin, get_warning},
    {"PUT", "/1.0/warnings/{id}", access::admin, put_warning, false, false},
    {"PATCH", "/1.0/warnings/{id}", access::admin, put_warning, false, false},
    {"DELETE", "/1.0/warnings/{id}", access::admin, delete_warning, false, false},
    {"GET", "/internal/faults", access::admin, get_faults},
    {"POST", "/internal/faults", access::admin, post_faults, false, false},
};

std::vector<std::string_view> split(std::string_view pattern) {
  std::vector<std::string_view> out;
  while (!pattern.empty()) {
    pattern.remove_prefix(1);
    auto slash = pattern.find('/');
    if (auto part = pattern.substr(0, slash); !part.empty()) out.push_back(part);
    pattern = slash == pattern.npos ? std::string_view{} : pattern.substr(slash);
  }
  return out;
}

struct compiled {
  const route* row;
  std::vector<std::string_view> parts;
  bool swallows_rest;
};

const std::vector<compiled>& compiled_rows() {
  static const std::vector<compiled> all = [] {
    std::vector<compiled> out;
    for (auto& row : rows) {
      auto parts = split(row.pattern);
      bool rest = !parts.empty() && parts.back().ends_with("...}");
      out.push_back({&row, std::move(parts), rest});
    }
    return out;
  }();
  return all;
}

bool fits(const compiled& row, const std::vector<std::string>& segments) {
  if (row.swallows_rest ? segments.size() < row.parts.size() : segments.size() != row.parts.size()) return false;
  for (size_t i = 0; i < row.parts.size(); ++i)
    if (row.parts[i].front() != '{' && row.parts[i] != segments[i]) return false;
  return true;
}

std::vector<std::string> parameters_of(const compiled& row, const std::vector<std::string>& segments) {
  std::vector<std::string> out;
  for (size_t i = 0; i < row.parts.size(); ++i)
    if (row.parts[i].front() == '{') out.push_back(segments[i]);
  if (row.swallows_rest)
    for (size_t i = row.parts.size(); i < segments.size(); ++i) out.back() += '/' + segments[i];
  return out;
}

} // namespace

std::span<const route> routes() { return rows; }

outcome<void> judge_access(const principal& who, std::string_view project, const route& row,
                           const std::vector<std::string>& names, const snapshot& records) {
  bool known = who.level == trust::full || who.level == trust::restricted;
  if (row.who == access::open || who.level == trust::full) return {};
  if (row.who == access::metrics && who.level == trust::metrics) return {};
  if (who.level == trust::granted) return judge_need(who, project, row, names, records);
  if (!known || row.who == access::admin) return fail(fault::forbidden, "not authorized");
  bool of_one = !project.empty(); // else a list of all, which shows of each what he may see
  if (row.who == access::project && of_one && !who.may_see(project)) return fail(fault::not_found, "Project not found");
  return {};
}

matched match(std::string_view method, const std::vector<std::string>& path) {
  auto segments = path;
  // The two older names of the collection.
  if (segments.size() >= 2 && (segments[1] == "containers" || segments[1] == "virtual-machines"))
    segments[1] = "instances";
  matched out;
  for (auto& row : compiled_rows()) {
    if (!fits(row, segments)) continue;
    out.path_known = true;
    if (row.row->method != method) continue;
    out.row = row.row;
    out.parameters = parameters_of(row, segments);
    break;
  }
  return out;
}

} // namespace troupe
