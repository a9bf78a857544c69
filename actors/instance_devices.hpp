#pragma once

#include "actors/instance_nics.hpp"
#include "actors/services.hpp"

#include <optional>

namespace troupe {

// What the devices of an expansion amount to on this host. Those that read the host's nodes block.

/// Where the disks of a project's instances come from.
struct disk_places {
  config_map rules;    // the project's
  std::string pools;   // DIR/storage-pools
  std::string volumes; // the project whose custom volumes they use
};
disk_places disk_places_of(const services& with, const snapshot& records, std::string_view project);

std::vector<mount_plan> mounts_of(const expansion& effective, const disk_places& places);
/// Of a virtual machine, whose volume is `volume`.
std::vector<drive_plan> drives_of(const expansion& effective, const disk_places& places, const std::string& volume);
/// A node that is not required, and not there, is nothing. invalid: it is required.
outcome<std::optional<node_plan>> node_of(const std::string& name, const config_map& device);
/// All of them; those that were found on the host are remembered in their devices.
outcome<std::vector<node_plan>> nodes_of(expansion& effective);
/// Bounds of the disks, the root disk's on the volume that is there.
std::vector<disk_limit> disk_limits_of(const expansion& effective, const std::string& root_path,
                                       const disk_places& places);
/// Proxies that the firewall does.
std::vector<nat_rule> nats_of(const expansion& effective);
/// Whether the firewall has anything to do for it.
bool has_rules(const expansion& effective);
/// All of the firewall's part, by the table that is the instance's own.
outcome<void> apply_rules_of(const expansion& effective, const std::string& table);

} // namespace troupe
