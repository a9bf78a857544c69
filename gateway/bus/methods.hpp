#pragma once

#include "gateway/bus/place.hpp"
#include "gateway/rest/routes.hpp"

#include <string>

namespace troupe::on_bus {

/// What is known of one method: from the schema's annotations and from the table in methods.cpp.
struct method_facts {
  std::string name;               // "Instance.start"
  bool reads = false;             // changes nothing
  bool implied = false;           // no rule judges it
  bool waits = false;             // for the client or for an operation's end: not counted as work that is under way
  const route* same_as = nullptr; // what REST calls it: its `access` holds here. Null: only for who may do everything
  handler run = nullptr;          // null: of an interface that is no handle of a thing (Process, ByteStream, ...)
};

/// Null: there is no such method.
const method_facts* find_method(uint64_t interface_id, uint16_t ordinal);

/// By "Instance.start".
const method_facts* find_method(std::string_view name);

/// All interfaces that can be reached from Bus, Bus first.
const std::vector<capnp::InterfaceSchema>& interfaces();

/// "Instance"
std::string short_name(capnp::Schema schema);

// Handlers, one file per noun. `navigate` answers with handles of what is below: it needs no code per method.
kj::Promise<void> navigate(const call_ptr& c);
// restrict.cpp
kj::Promise<void> restrict_handle(const call_ptr& c);
kj::Promise<void> offers_of_handle(const call_ptr& c);
// server.cpp
kj::Promise<void> view_server(const call_ptr& c);
kj::Promise<void> update_server(const call_ptr& c);
kj::Promise<void> view_resources(const call_ptr& c);
kj::Promise<void> describe(const call_ptr& c);
kj::Promise<void> list_sessions(const call_ptr& c);
// projects.cpp
kj::Promise<void> list_projects(const call_ptr& c);
kj::Promise<void> get_project(const call_ptr& c);
kj::Promise<void> create_project(const call_ptr& c);
kj::Promise<void> view_project(const call_ptr& c);
kj::Promise<void> update_project(const call_ptr& c);
kj::Promise<void> rename_project(const call_ptr& c);
kj::Promise<void> delete_project(const call_ptr& c);
kj::Promise<void> measure_project(const call_ptr& c);
// identities.cpp
kj::Promise<void> list_identities(const call_ptr& c);
kj::Promise<void> view_identity(const call_ptr& c);
kj::Promise<void> current_identity(const call_ptr& c);
kj::Promise<void> create_identity(const call_ptr& c);
kj::Promise<void> invite_identity(const call_ptr& c);
kj::Promise<void> update_identity(const call_ptr& c);
kj::Promise<void> delete_identity(const call_ptr& c);
// groups.cpp
kj::Promise<void> list_groups(const call_ptr& c);
kj::Promise<void> view_group(const call_ptr& c);
kj::Promise<void> create_group(const call_ptr& c);
kj::Promise<void> update_group(const call_ptr& c);
kj::Promise<void> rename_group(const call_ptr& c);
kj::Promise<void> delete_group(const call_ptr& c);
kj::Promise<void> list_provider_groups(const call_ptr& c);
kj::Promise<void> view_provider_group(const call_ptr& c);
kj::Promise<void> create_provider_group(const call_ptr& c);
kj::Promise<void> update_provider_group(const call_ptr& c);
kj::Promise<void> rename_provider_group(const call_ptr& c);
kj::Promise<void> delete_provider_group(const call_ptr& c);
kj::Promise<void> list_permissions(const call_ptr& c);
// operations.cpp
kj::Promise<void> list_operations(const call_ptr& c);
kj::Promise<void> view_operation(const call_ptr& c);
kj::Promise<void> wait_operation(const call_ptr& c);
kj::Promise<void> cancel_operation(const call_ptr& c);
// events.cpp
kj::Promise<void> subscribe_to_events(const call_ptr& c);
kj::Promise<void> follow_operation(const call_ptr& c);
kj::Promise<void> list_history(const call_ptr& c);
kj::Promise<void> list_durables_(const call_ptr& c);
kj::Promise<void> delete_durable_(const call_ptr& c);
// instances.cpp
kj::Promise<void> list_instances(const call_ptr& c);
kj::Promise<void> list_all_instances(const call_ptr& c);
kj::Promise<void> create_instance(const call_ptr& c);
kj::Promise<void> change_all_instances(const call_ptr& c);
kj::Promise<void> view_instance(const call_ptr& c);
kj::Promise<void> measure_instance(const call_ptr& c);
kj::Promise<void> update_instance(const call_ptr& c);
kj::Promise<void> rename_instance(const call_ptr& c);
kj::Promise<void> rebuild_instance(const call_ptr& c);
kj::Promise<void> delete_instance(const call_ptr& c);
kj::Promise<void> change_instance_state(const call_ptr& c);
kj::Promise<void> power_instance(const call_ptr& c);
// snapshots.cpp
kj::Promise<void> list_snapshots(const call_ptr& c);
kj::Promise<void> take_snapshot(const call_ptr& c);
kj::Promise<void> restore_snapshot(const call_ptr& c);
kj::Promise<void> rename_snapshot(const call_ptr& c);
kj::Promise<void> retention_of_snapshots(const call_ptr& c);
kj::Promise<void> prune_snapshots_(const call_ptr& c);
kj::Promise<void> update_snapshot(const call_ptr& c);
kj::Promise<void> delete_snapshot(const call_ptr& c);
// backups.cpp
kj::Promise<void> list_backups(const call_ptr& c);
kj::Promise<void> make_backup(const call_ptr& c);
kj::Promise<void> rename_backup(const call_ptr& c);
kj::Promise<void> delete_backup(const call_ptr& c);
kj::Promise<void> export_backup(const call_ptr& c);
kj::Promise<void> import_instance(const call_ptr& c);
// exec.cpp
kj::Promise<void> exec_instance(const call_ptr& c);
// console.cpp
kj::Promise<void> console_log(const call_ptr& c);
kj::Promise<void> clear_console_log(const call_ptr& c);
kj::Promise<void> list_logs(const call_ptr& c);
kj::Promise<void> read_log(const call_ptr& c);
// files.cpp
kj::Promise<void> view_file(const call_ptr& c);
kj::Promise<void> read_file(const call_ptr& c);
kj::Promise<void> write_file(const call_ptr& c);
kj::Promise<void> make_directory(const call_ptr& c);
kj::Promise<void> make_link(const call_ptr& c);
kj::Promise<void> remove_file(const call_ptr& c);
// images.cpp
kj::Promise<void> list_images(const call_ptr& c);
kj::Promise<void> import_image_(const call_ptr& c);
kj::Promise<void> publish_instance(const call_ptr& c);
kj::Promise<void> view_image(const call_ptr& c);
kj::Promise<void> update_image_(const call_ptr& c);
kj::Promise<void> delete_image_(const call_ptr& c);
kj::Promise<void> export_image(const call_ptr& c);
kj::Promise<void> list_aliases(const call_ptr& c);
kj::Promise<void> create_alias(const call_ptr& c);
kj::Promise<void> view_alias(const call_ptr& c);
kj::Promise<void> update_alias(const call_ptr& c);
kj::Promise<void> rename_alias(const call_ptr& c);
kj::Promise<void> delete_alias(const call_ptr& c);
// profiles.cpp
kj::Promise<void> list_profiles(const call_ptr& c);
kj::Promise<void> create_profile(const call_ptr& c);
kj::Promise<void> view_profile(const call_ptr& c);
kj::Promise<void> update_profile(const call_ptr& c);
kj::Promise<void> rename_profile(const call_ptr& c);
kj::Promise<void> delete_profile(const call_ptr& c);
// networks.cpp
kj::Promise<void> list_networks(const call_ptr& c);
kj::Promise<void> create_network(const call_ptr& c);
kj::Promise<void> view_network(const call_ptr& c);
kj::Promise<void> update_network(const call_ptr& c);
kj::Promise<void> rename_network(const call_ptr& c);
kj::Promise<void> delete_network(const call_ptr& c);
kj::Promise<void> network_leases(const call_ptr& c);
kj::Promise<void> network_state(const call_ptr& c);
// pools.cpp
kj::Promise<void> list_pools(const call_ptr& c);
kj::Promise<void> create_pool(const call_ptr& c);
kj::Promise<void> view_pool(const call_ptr& c);
kj::Promise<void> update_pool(const call_ptr& c);
kj::Promise<void> delete_pool(const call_ptr& c);
kj::Promise<void> pool_resources(const call_ptr& c);
kj::Promise<void> list_volumes(const call_ptr& c);
kj::Promise<void> view_volume(const call_ptr& c);
kj::Promise<void> volume_state(const call_ptr& c);
// volumes.cpp
kj::Promise<void> create_volume_(const call_ptr& c);
kj::Promise<void> update_volume_(const call_ptr& c);
kj::Promise<void> move_volume_(const call_ptr& c);
kj::Promise<void> delete_volume_(const call_ptr& c);

} // namespace troupe::on_bus
