#pragma once

#include "actors/instance.hpp"
#include "runtime/child.hpp"

namespace troupe {

// TPMs made by software: a process (swtpm) for each, which has no rights but on its state, beside the instance's root.
// It goes on while the daemon is away and while the instance reboots. All of these block.

bool is_tpm(const config_map& device);
/// Starts it, or takes over the one that an earlier daemon started, and shows its nodes to the instance.
outcome<std::shared_ptr<child>> start_tpm(services& with, const live_instance& for_whom, const std::string& name,
                                          const config_map& device, std::function<void()> ended);
/// Takes it away from a running instance.
outcome<void> remove_tpm(services& with, const live_instance& from, const std::string& name, const config_map& device);
/// Ends those of an instance that does not run any more.
void end_tpms(services& with, const std::string& key, const device_map& devices);

} // namespace troupe
