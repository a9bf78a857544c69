#pragma once

#include "backends/instance/lxc/lxc_config.hpp"

namespace troupe::lxc {

/// Adds limits.cpu*, limits.memory* and limits.processes as control group settings of the hierarchy this host has.
outcome<void> add_limits(settings& out, const boot_plan& plan, const host_facts& host);

} // namespace troupe::lxc
