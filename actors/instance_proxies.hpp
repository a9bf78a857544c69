#pragma once

#include "actors/instance.hpp"
#include "runtime/child.hpp"

namespace troupe {

/// What a process of its own does: proxies but those of the firewall, and TPMs.
bool has_forwarder(const config_map& device);

using forwarder_ptr = std::shared_ptr<child>;
/// Starts the forwarder of a device, or takes over the one that an earlier daemon started; returns when it listens.
/// Blocks. `ended` is called on the loop's thread.
outcome<forwarder_ptr> start_forwarder(services& with, const live_instance& for_whom, const std::string& name,
                                       const config_map& device, std::function<void()> ended);
/// Returns when it has ended. Blocks.
void end_forwarder(const forwarder_ptr& process);

} // namespace troupe
