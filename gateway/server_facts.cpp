#include "gateway/server_facts.hpp"

#include "actors/oidc_settings.hpp"
#include "backends/storage/storage_driver.hpp"
#include "gateway/tls_listeners.hpp"
#include "messages/json.hpp"
#include "messages/server.capnp.h"

#include <cstdio>
#include <fstream>
#include <sys/utsname.h>
#include <unistd.h>

namespace troupe {
namespace {

// Order and names as LXD's; a name is here only when all of its behaviour is.
constexpr std::string_view extensions[] = {
    "container_host_shutdown_timeout",
    "container_stop_priority",
    "container_last_used_at",
    "etag",
    "patch",
    "image_compression_algorithm",
    "usb_devices",
    "directory_manipulation",
    "container_cpu_time",
    "network",
    "profile_usedby",
    "container_exec_recording",
    "certificate_update",
    "container_exec_signal_handling",
    "gpu_devices",
    "container_image_properties",
    "id_map",
    "storage",
    "container_push",
    "container_push_target",
    "migration_progress",
    "container_only_migration",
    "file_delete",
    "file_append",
    "network_dhcp_expiry",
    "unix_device_rename",
    "storage_btrfs_mount_options",
    "entity_description",
    "id_map_base",
    "file_symlinks",
    "image_create_aliases",
    "container_edit_metadata",
    "resources",
    "console",
    "restrict_devlxd",
    "devlxd_events",
    "kernel_limits",
    "proxy",
    "network_dhcp_gateway",
    "file_get_symlink",
    "network_leases",
    "storage_api_volume_rename",
    "operation_description",
    "event_lifecycle",
    "container_backup",
    "devlxd_images",
    "container_mount_propagation",
    "proxy_unix",
    "proxy_udp",
    "proxy_tcp_udp_multi_port_handling",
    "network_state",
    "storage_api_local_volume_handling",
    "proxy_unix_dac_properties",
    "container_protection_delete",
    "proxy_haproxy_protocol",
    "network_hwaddr",
    "proxy_nat",
    "container_full",
    "backup_compression",
    "projects",
    "usb_optional_vendorid",
    "container_protection_shift",
    "container_incremental_copy",
    "network_leases_location",
    "resources_cpu_socket",
    "snapshot_scheduling",
    "snapshot_schedule_aliases",
    "network_vlan",
    "network_vlan_physical",
    "container_copy_project",
    "container_backup_override_pool",
    "snapshot_expiry",
    "snapshot_expiry_creation",
    "resources_gpu",
    "resources_numa",
    "kernel_features",
    "event_location",
    "container_nic_routes",
    "resources_v2",
    "container_exec_user_group_cwd",
    "container_syscall_intercept",
    "container_disk_shift",
    "backup_compression_algorithm",
    "images_expiry",
    "image_profiles",
    "instances",
    "image_types",
    "virtual-machines",
    "resources_disk_sata",
    "resources_disk_id",
    "container_nic_routed",
    "unix_hotplug_devices",
    "api_filtering",
    "instance_nic_network",
    "projects_networks",
    "backup_override_name",
    "firewall_driver",
    "projects_limits",
    "limits_hugepages",
    "container_nic_routed_gateway",
    "projects_restrictions",
    "trust_ca_certificates",
    "resources_usb_pci",
    "resources_cpu_threads_numa",
    "resources_cpu_core_die",
    "api_os",
    "resources_system",
    "container_nic_routed_host_address",
    "container_nic_routed_host_table",
    "container_nic_routed_limits",
    "container_syscall_intercept_mount",
    "container_nic_ipvlan",
    "container_nic_ipvlan_gateway",
    "container_nic_ipvlan_host_table",
    "container_nic_ipvlan_mode",
    "instance_nic_bridged_vlan",
    "tpm_device_type",
    "network_gvrp",
    "network_state_bond_bridge",
    "usedby_consistency",
    "resources_pci_iommu",
    "resources_network_usb",
    "resources_disk_address",
    "projects_limits_instances",
    "instance_bulk_state_change",
    "instance_snapshot_never",
    "storage_volume_state",
    "storage_api_volume_snapshots",
    "custom_volume_snapshot_expiry",
    "volume_snapshot_scheduling",
    "instance_pool_move",
    "certificate_project",
    "project_usage",
    "warnings",
    "server_instance_driver_operational",
    "server_supported_storage_drivers",
    "event_lifecycle_requestor_address",
    "network_counters_errors_dropped",
    "console_vga_type",
    "metrics",
    "linux_sysctl",
    "certificate_self_renewal",
    "instance_all_projects",
    "instance_get_full",
    "event_project",
    "projects_compression",
    "projects_restricted_backups_and_snapshots",
    "metrics_cpu_seconds",
    "certificate_token",
    "metrics_authentication",
    "instance_file_head",
    "projects_networks_restricted_access",
    "container_syscall_intercept_sysinfo",
    "instance_ready_state",
    "metrics_memory_oom_total",
    "instance_project_move",
    "storage_volume_project_move",
    "instance_allow_inconsistent_copy",
    "metrics_instances_count",
    "resources_disk_mounted",
    "access_management",
    "device_usb_serial",
    "explicit_trust_token",
    "instances_rebuild",
    "import_instance_devices",
    "access_management_tls",
    "unix_device_hotplug_subsystem_device_option",
    "operations_get_query_all_projects",
    "oidc",
    "oidc_groups_claim",
    "entities_with_entitlements",
    "profiles_all_projects",
    "oidc_scopes",
    "images_all_projects",
    "networks_all_projects",
    "oidc_client_secret",
    "oidc_device_client_id",
    "troupe_event_cursor",      // ours: see docs/events.md
    "troupe_operation_history", // ours: see docs/operations.md
    "troupe_sinks",             // ours: see docs/sinks.md
    "troupe_exec_attach",       // ours: see docs/inside.md
};

std::string os_release(std::string_view key) {
  std::ifstream in{"/etc/os-release"};
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(std::string{key} + "=")) continue;
    auto value = line.substr(key.size() + 1);
    std::erase(value, '"');
    return value;
  }
  return {};
}

bool kernel_at_least(int major, int minor) {
  utsname host{};
  uname(&host);
  int have_major = 0, have_minor = 0;
  return std::sscanf(host.release, "%d.%d", &have_major, &have_minor) == 2 &&
         std::pair{have_major, have_minor} >= std::pair{major, minor};
}

bool file_mentions(const char* file, std::string_view word) {
  std::ifstream in{file};
  for (std::string line; std::getline(in, line);)
    if (line.find(word) != line.npos) return true;
  return false;
}

config_map kernel_features() {
  auto yes_no = [](bool have) { return std::string{have ? "true" : "false"}; };
  bool listener = file_mentions("/proc/sys/kernel/seccomp/actions_avail", "user_notif");
  return {{"idmapped_mounts", yes_no(kernel_at_least(5, 12))},
          {"netnsid_getifaddrs", yes_no(kernel_at_least(4, 20))},
          {"seccomp_listener", yes_no(listener)},
          {"seccomp_listener_continue", yes_no(listener && kernel_at_least(5, 5))},
          {"shiftfs", yes_no(file_mentions("/proc/filesystems", "shiftfs"))},
          {"uevent_injection", yes_no(kernel_at_least(4, 18))},
          {"unpriv_fscaps", yes_no(kernel_at_least(4, 14))}};
}

void fill_environment(schema::Server::Environment::Builder env, const services& with, const announcement& announced) {
  utsname host{};
  uname(&host);
  auto architectures = env.initArchitectures(1);
  architectures.set(0, host.machine);
  fill(env.initAddresses(static_cast<unsigned>(announced.addresses.size())), announced.addresses);
  env.setCertificate(announced.certificate);
  env.setCertificateFingerprint(announced.fingerprint);
  auto machines = with.machines.version(); // empty: there is no QEMU on this host
  env.setDriver(machines.empty() ? "lxc" : "lxc | qemu");
  env.setDriverVersion(with.containers.version() + (machines.empty() ? "" : " | " + machines));
  env.setFirewall("nftables");
  env.setKernel(host.sysname);
  env.setKernelArchitecture(host.machine);
  env.setKernelVersion(host.release);
  auto kernel = kernel_features();
  fill(env.initKernelFeatures(static_cast<unsigned>(kernel.size())), kernel);
  env.setOsName(os_release("NAME"));
  env.setOsVersion(os_release("VERSION_ID"));
  env.setProject("default");
  env.setServer("troupe");
  env.setServerEventMode("full-mesh");
  env.setServerName(with.server_name);
  env.setServerPid(getpid());
  env.setServerVersion(TROUPE_VERSION);
  auto drivers = supported_storage_drivers();
  auto list = env.initStorageSupportedDrivers(static_cast<unsigned>(drivers.size()));
  std::string names, versions;
  for (unsigned i = 0; i < drivers.size(); ++i) {
    list[i].setName(drivers[i].first);
    list[i].setVersion(drivers[i].second);
    names += (i ? " | " : "") + drivers[i].first;
    versions += (i ? " | " : "") + drivers[i].second;
  }
  env.setStorage(names);
  env.setStorageVersion(versions);
}

} // namespace

const std::vector<std::string_view>& api_extensions() {
  static const std::vector<std::string_view> all{std::begin(extensions), std::end(extensions)};
  return all;
}

namespace {

// What both kinds of callers are told.
template <class Builder>
void fill_abilities(Builder server, const char* auth, bool oidc) {
  auto list = server.initApiExtensions(static_cast<unsigned>(std::size(extensions)));
  for (unsigned i = 0; i < std::size(extensions); ++i) list.set(i, std::string{extensions[i]});
  server.setApiStatus("stable");
  server.setApiVersion("1.0");
  server.setAuth(auth);
  auto methods = server.initAuthMethods(oidc ? 2 : 1);
  methods.set(0, "tls");
  if (oidc) methods.set(1, "oidc");
}

} // namespace

announcement announced_by(const tls_listeners& listeners, const snapshot& records) {
  auto now = listeners.present();
  bool oidc = oidc_settings_of(records).on();
  if (!now.identity) return {{}, {}, {}, oidc};
  return {reachable_at(now.https), now.identity->pem(), now.identity->own().fingerprint, oidc};
}

std::string server_json(const services& with, const config_map& config, const announcement& announced) {
  return to_json(message<schema::Server>::make([&](schema::Server::Builder server) {
    fill_abilities(server, "trusted", announced.oidc);
    fill(server.initConfig(static_cast<unsigned>(config.size())), config);
    fill_environment(server.initEnvironment(), with, announced);
  }));
}

std::string untrusted_server_json(bool oidc) {
  return to_json(message<schema::ServerUntrusted>::make(
      [oidc](schema::ServerUntrusted::Builder server) { fill_abilities(server, "untrusted", oidc); }));
}

} // namespace troupe
