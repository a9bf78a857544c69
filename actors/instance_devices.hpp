#pragma once

#include "actors/instance_nics.hpp"

#include <optional>

namespace troupe {

// What the devices of an expansion amount to on this host. Those that read the host's nodes block.

std::vector<mount_plan> mounts_of(const expansion& effective, const config_map& project_rules);
/// A node that is not required, and not there, is nothing. invalid: it is required.
outcome<std::optional<node_plan>> node_of(const std::string& name, const config_map& device);
outcome<std::vector<node_plan>> nodes_of(const expansion& effective);
/// Bounds of the disks, the root disk's on the volume that is there.
std::vector<disk_limit> disk_limits_of(const expansion& effective, const std::string& root_path);
/// Proxies that the firewall does.
std::vector<nat_rule> nats_of(const expansion& effective);
/// Whether the firewall has anything to do for it.
bool has_rules(const expansion& effective);
/// All of the firewall's part, by the table that is the instance's own.
outcome<void> apply_rules_of(const expansion& effective, const std::string& table);

} // namespace troupe
