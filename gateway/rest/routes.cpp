#include "gateway/rest/routes.hpp"

#include <algorithm>

namespace troupe {
namespace {

// The order does not matter but for "{x...}", which comes after what is more special.
constexpr route rows[] = {
    {"GET", "/", get_root},
    {"GET", "/1.0", get_server},
    {"PUT", "/1.0", put_server},
    {"PATCH", "/1.0", patch_server},
    {"GET", "/1.0/resources", get_resources},
    {"GET", "/1.0/projects", get_projects},
    {"POST", "/1.0/projects", post_projects},
    {"GET", "/1.0/projects/{name}", get_project},
    {"PUT", "/1.0/projects/{name}", put_project},
    {"PATCH", "/1.0/projects/{name}", patch_project},
    {"POST", "/1.0/projects/{name}", post_project},
    {"DELETE", "/1.0/projects/{name}", delete_project},
    {"GET", "/1.0/projects/{name}/state", get_project_state},
    {"GET", "/1.0/warnings", get_empty_list},
    {"GET", "/1.0/certificates", get_empty_list},
    {"GET", "/1.0/events", events_websocket},
    {"GET", "/1.0/events/history", get_event_history},
    {"GET", "/1.0/events/subscriptions", get_event_subscriptions},
    {"GET", "/1.0/events/subscriptions/{name}", get_event_subscription},
    {"DELETE", "/1.0/events/subscriptions/{name}", delete_event_subscription},
    {"GET", "/1.0/operations", get_operations},
    {"GET", "/1.0/operations/{id}", get_operation},
    {"DELETE", "/1.0/operations/{id}", delete_operation, false, false},
    {"GET", "/1.0/operations/{id}/wait", wait_operation},
    {"GET", "/1.0/operations/{id}/websocket", operation_websocket},
    {"GET", "/1.0/instances", get_instances},
    {"POST", "/1.0/instances", post_instances},
    {"PUT", "/1.0/instances", put_instances, false, false},
    {"GET", "/1.0/instances/{name}", get_instance},
    {"PUT", "/1.0/instances/{name}", put_instance},
    {"PATCH", "/1.0/instances/{name}", patch_instance},
    {"POST", "/1.0/instances/{name}", post_instance},
    {"DELETE", "/1.0/instances/{name}", delete_instance_},
    {"GET", "/1.0/instances/{name}/state", get_instance_state},
    {"PUT", "/1.0/instances/{name}/state", put_instance_state},
    {"GET", "/1.0/instances/{name}/console", get_instance_console},
    {"DELETE", "/1.0/instances/{name}/console", delete_instance_console, false, false},
    {"GET", "/1.0/instances/{name}/snapshots", get_empty_list},
    {"GET", "/1.0/instances/{name}/backups", get_empty_list},
    {"GET", "/1.0/instances/{name}/logs", get_instance_logs},
    {"GET", "/1.0/instances/{name}/logs/{file}", get_instance_log},
    {"POST", "/1.0/instances/{name}/exec", post_exec, false, false},
    {"GET", "/1.0/instances/{name}/files", get_file},
    {"HEAD", "/1.0/instances/{name}/files", get_file},
    {"POST", "/1.0/instances/{name}/files", post_file, true, false},
    {"DELETE", "/1.0/instances/{name}/files", delete_file, false, false},
    {"GET", "/1.0/images", get_images},
    {"POST", "/1.0/images", post_images, true},
    {"GET", "/1.0/images/aliases", get_aliases},
    {"POST", "/1.0/images/aliases", post_aliases},
    {"GET", "/1.0/images/aliases/{name...}", get_alias},
    {"PUT", "/1.0/images/aliases/{name...}", put_alias},
    {"PATCH", "/1.0/images/aliases/{name...}", patch_alias},
    {"POST", "/1.0/images/aliases/{name...}", post_alias},
    {"DELETE", "/1.0/images/aliases/{name...}", delete_alias},
    {"GET", "/1.0/images/{fingerprint}", get_image},
    {"PUT", "/1.0/images/{fingerprint}", put_image},
    {"PATCH", "/1.0/images/{fingerprint}", patch_image},
    {"DELETE", "/1.0/images/{fingerprint}", delete_image_},
    {"GET", "/1.0/images/{fingerprint}/export", export_image},
    {"GET", "/1.0/profiles", get_profiles},
    {"POST", "/1.0/profiles", post_profiles},
    {"GET", "/1.0/profiles/{name}", get_profile},
    {"PUT", "/1.0/profiles/{name}", put_profile},
    {"PATCH", "/1.0/profiles/{name}", patch_profile},
    {"POST", "/1.0/profiles/{name}", post_profile},
    {"DELETE", "/1.0/profiles/{name}", delete_profile},
    {"GET", "/1.0/networks", get_networks},
    {"POST", "/1.0/networks", post_networks},
    {"GET", "/1.0/networks/{name}", get_network},
    {"PUT", "/1.0/networks/{name}", put_network},
    {"PATCH", "/1.0/networks/{name}", patch_network},
    {"POST", "/1.0/networks/{name}", post_network},
    {"DELETE", "/1.0/networks/{name}", delete_network_},
    {"GET", "/1.0/networks/{name}/leases", get_leases},
    {"GET", "/1.0/networks/{name}/state", get_network_state},
    {"GET", "/1.0/sinks", get_sinks},
    {"POST", "/1.0/sinks", post_sinks},
    {"GET", "/1.0/sinks/{name}", get_sink},
    {"PUT", "/1.0/sinks/{name}", put_sink},
    {"PATCH", "/1.0/sinks/{name}", patch_sink},
    {"DELETE", "/1.0/sinks/{name}", delete_sink},
    {"GET", "/1.0/sinks/{name}/state", get_sink_state},
    {"GET", "/1.0/sinks/{name}/dead-letters", get_dead_letters},
    {"DELETE", "/1.0/sinks/{name}/dead-letters", delete_dead_letters_},
    {"GET", "/internal/faults", get_faults},
    {"POST", "/internal/faults", post_faults, false, false},
    {"GET", "/1.0/storage-pools", get_pools},
    {"POST", "/1.0/storage-pools", post_pools},
    {"GET", "/1.0/storage-pools/{name}", get_pool},
    {"PUT", "/1.0/storage-pools/{name}", put_pool},
    {"PATCH", "/1.0/storage-pools/{name}", patch_pool},
    {"DELETE", "/1.0/storage-pools/{name}", delete_pool_},
    {"GET", "/1.0/storage-pools/{name}/resources", get_pool_resources},
    {"GET", "/1.0/storage-pools/{name}/volumes", get_volumes},
    {"GET", "/1.0/storage-pools/{name}/volumes/{type}", get_volumes_of_type},
    {"GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", get_volume},
    {"GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/state", get_volume_state},
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
