#pragma once

#include "backends/instance/instance_driver.hpp"
#include "backends/instance/lxc/cgroup_tree.hpp"

namespace troupe::lxc {

/// The counters of a container's payload group, on a host with cgroup v2 only (`unified`) or with v1 controllers.
/// Thread-safe; reads a dozen files of the kernel's, never blocks on the container.
instance_driver::counters count_cgroups(const cgroup_tree& groups, bool unified, const std::string& key);

} // namespace troupe::lxc
