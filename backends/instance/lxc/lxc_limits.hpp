#pragma once

#include "backends/instance/lxc/cgroup_tree.hpp"
#include "backends/instance/lxc/lxc_config.hpp"

namespace troupe::lxc {

/// One file of a control group, in the hierarchy that this host has.
struct cgroup_value {
  std::string controller; // v1; "" on a host with cgroup v2 only
  std::string file;
  std::string value; // what is asked for; empty: nothing
  std::string unset; // what a group has that nobody limits; empty: what its parent has
};

/// Every file that the limits.* keys are about. `invalid`: a value cannot be read; `unsupported`: this host cannot.
outcome<std::vector<cgroup_value>> limits_of(const config_map& config, const std::string& key, const host_facts& host);
/// The lines of the block I/O bounds, one file each; a disk without bounds gives none.
outcome<std::vector<cgroup_value>> disk_limits_of(const std::vector<disk_limit>& disks, const host_facts& host);

/// What is asked for, as liblxc's settings.
outcome<void> add_limits(settings& out, const boot_plan& plan, const host_facts& host);

/// Writes it all to the groups of a running container; what cannot be written whole is taken back.
outcome<void> write_limits(const cgroup_tree& groups, const std::string& key, const std::vector<cgroup_value>& limits);
outcome<void> write_disk_limits(const cgroup_tree& groups, const std::string& key, const host_facts& host,
                                const std::vector<cgroup_value>& wanted);

} // namespace troupe::lxc
