#pragma once

#include "backends/instance/lxc/cgroup_tree.hpp"
#include "backends/instance/lxc/lxc_config.hpp"
#include "backends/instance/qemu/machine_arguments.hpp"

#include <string>
#include <vector>

namespace troupe::qemu {

/// Makes a machine's control groups, one in each hierarchy of the host, with room for its limits. Returns the
/// directories, which QEMU enters. May be repeated.
outcome<std::vector<std::string>> make_groups(const std::string& prefix, const std::string& key);

/// Makes the CPU time and the CPUs of a machine what its configuration says; its memory is bounded by its size.
outcome<void> limit_group_of(const lxc::cgroup_tree& groups, const std::string& key, const config_map& config,
                             const lxc::host_facts& host, const machine_cpus& cpus);

} // namespace troupe::qemu
