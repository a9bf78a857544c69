#pragma once

#include "gateway/rest/request.hpp"

#include <span>
#include <string_view>

namespace troupe {

/// Who may call, before the thing's own actor judges.
enum class access : uint8_t {
  open,    // everybody; the handler shows strangers what is public
  trusted, // whom the server knows; the handler looks closer
  metrics, // those, and whose certificate is for metrics only
  project, // who may see the request's project
  admin,   // who is not restricted: what concerns the server
};

/// One row per method and path. `{x}` matches one segment, `{x...}` the rest of the path.
struct route {
  std::string_view method;
  std::string_view pattern;
  access who;
  rest_handler handle;
  bool upload = false;  // the body is spooled to a file instead of held in memory
  bool one_saga = true; // what changes something begins exactly one operation: it can be planned and made idempotent
  bool takes_files = false; // a body of type application/octet-stream is spooled, another one is not
};

/// May he? By `who`; of those whose rights come from groups by needs.hpp. fault::forbidden, or not_found for what he
/// may not see: nobody learns which projects there are. `names`: what the pattern's braces matched.
outcome<void> judge_access(const principal& who, std::string_view project, const route& row,
                           const std::vector<std::string>& names, const snapshot& records);

/// The table; see routes.cpp.
std::span<const route> routes();

struct matched {
  const route* row = nullptr;
  std::vector<std::string> parameters;
  bool path_known = false; // some other method is there: 501 instead of 404
};
matched match(std::string_view method, const std::vector<std::string>& segments);

// Handlers, one file per noun.

// server.cpp
void get_root(const rest_request&);
void get_server(const rest_request&);
void put_server(const rest_request&);
void patch_server(const rest_request&);
void get_metrics(const rest_request&);
void get_resources(const rest_request&);
// snapshots.cpp
void get_snapshots(const rest_request&);
void post_snapshots(const rest_request&);
void get_snapshot(const rest_request&);
void put_snapshot(const rest_request&);
void post_snapshot(const rest_request&);
void delete_snapshot(const rest_request&);
void get_retention(const rest_request&);
void post_retention(const rest_request&);
// backups.cpp
void get_backups(const rest_request&);
void post_backups(const rest_request&);
void get_backup(const rest_request&);
void post_backup(const rest_request&);
void delete_backup(const rest_request&);
void export_backup(const rest_request&);
// projects.cpp
void get_projects(const rest_request&);
void post_projects(const rest_request&);
void get_project(const rest_request&);
void put_project(const rest_request&);
void patch_project(const rest_request&);
void post_project(const rest_request&);
void delete_project(const rest_request&);
void get_project_state(const rest_request&);
// certificates.cpp
void get_certificates(const rest_request&);
void post_certificates(const rest_request&);
void get_certificate(const rest_request&);
void put_certificate(const rest_request&);
void patch_certificate(const rest_request&);
void delete_certificate(const rest_request&);
// auth.cpp
void get_auth_groups(const rest_request&);
void post_auth_groups(const rest_request&);
void get_auth_group(const rest_request&);
void put_auth_group(const rest_request&);
void patch_auth_group(const rest_request&);
void post_auth_group(const rest_request&);
void delete_auth_group(const rest_request&);
void get_provider_groups(const rest_request&);
void post_provider_groups(const rest_request&);
void get_provider_group(const rest_request&);
void put_provider_group(const rest_request&);
void patch_provider_group(const rest_request&);
void post_provider_group(const rest_request&);
void delete_provider_group(const rest_request&);
void get_permissions(const rest_request&);
// identities.cpp
void get_identities(const rest_request&);
void get_current_identity(const rest_request&);
void get_identities_of_method(const rest_request&);
void post_tls_identities(const rest_request&);
void get_identity(const rest_request&);
void put_identity(const rest_request&);
void patch_identity(const rest_request&);
void delete_identity(const rest_request&);
// operations.cpp
void get_operations(const rest_request&);
void get_operation(const rest_request&);
void delete_operation(const rest_request&);
void wait_operation(const rest_request&);
void operation_websocket(const rest_request&);
// events.cpp
void events_websocket(const rest_request&);
void get_event_history(const rest_request&);
void get_event_subscriptions(const rest_request&);
void get_event_subscription(const rest_request&);
void delete_event_subscription(const rest_request&);
// instances.cpp
void get_instances(const rest_request&);
void post_instances(const rest_request&);
void put_instances(const rest_request&);
void get_instance(const rest_request&);
void put_instance(const rest_request&);
void patch_instance(const rest_request&);
void post_instance(const rest_request&);
void post_rebuild(const rest_request&);
void delete_instance_(const rest_request&);
void get_instance_state(const rest_request&);
void put_instance_state(const rest_request&);
// console.cpp
void get_instance_console(const rest_request&);
void delete_instance_console(const rest_request&);
void post_console(const rest_request&);
// logs.cpp
void get_instance_logs(const rest_request&);
void get_instance_log(const rest_request&);
void delete_instance_log(const rest_request&);
void get_exec_outputs(const rest_request&);
void get_exec_output(const rest_request&);
void delete_exec_output(const rest_request&);
// metadata.cpp
void get_metadata(const rest_request&);
void put_metadata(const rest_request&);
void patch_metadata(const rest_request&);
void get_templates(const rest_request&);
void post_template(const rest_request&);
void delete_template(const rest_request&);
// exec.cpp
void post_exec(const rest_request&);
void attach_operation(const rest_request&);
// files.cpp
void get_file(const rest_request&);
void post_file(const rest_request&);
void delete_file(const rest_request&);
void get_sftp(const rest_request&);
// images.cpp
void get_images(const rest_request&);
void post_images(const rest_request&);
void get_image(const rest_request&);
void put_image(const rest_request&);
void patch_image(const rest_request&);
void delete_image_(const rest_request&);
void export_image(const rest_request&);
void get_aliases(const rest_request&);
void post_aliases(const rest_request&);
void get_alias(const rest_request&);
void put_alias(const rest_request&);
void patch_alias(const rest_request&);
void post_alias(const rest_request&);
void delete_alias(const rest_request&);
// profiles.cpp
void get_profiles(const rest_request&);
void post_profiles(const rest_request&);
void get_profile(const rest_request&);
void put_profile(const rest_request&);
void patch_profile(const rest_request&);
void post_profile(const rest_request&);
void delete_profile(const rest_request&);
// networks.cpp
void get_networks(const rest_request&);
void post_networks(const rest_request&);
void get_network(const rest_request&);
void put_network(const rest_request&);
void patch_network(const rest_request&);
void post_network(const rest_request&);
void delete_network_(const rest_request&);
void get_leases(const rest_request&);
void get_network_state(const rest_request&);
// storage.cpp
void get_pools(const rest_request&);
void post_pools(const rest_request&);
void get_pool(const rest_request&);
void put_pool(const rest_request&);
void patch_pool(const rest_request&);
void delete_pool_(const rest_request&);
void get_pool_resources(const rest_request&);
// volumes.cpp
void get_volumes(const rest_request&);
void post_volumes(const rest_request&);
void get_volumes_of_type(const rest_request&);
void post_volumes_of_type(const rest_request&);
void get_volume(const rest_request&);
void put_volume(const rest_request&);
void patch_volume(const rest_request&);
void post_volume(const rest_request&);
void delete_volume_(const rest_request&);
void get_volume_state(const rest_request&);
// sinks.cpp
void get_sinks(const rest_request&);
void post_sinks(const rest_request&);
void get_sink(const rest_request&);
void put_sink(const rest_request&);
void patch_sink(const rest_request&);
void delete_sink(const rest_request&);
void get_sink_state(const rest_request&);
void get_dead_letters(const rest_request&);
void delete_dead_letters_(const rest_request&);
// warnings.cpp
void get_warnings(const rest_request&);
void get_warning(const rest_request&);
void put_warning(const rest_request&);
void delete_warning(const rest_request&);
// faults.cpp, for fault tests
void get_faults(const rest_request&);
void post_faults(const rest_request&);

} // namespace troupe
