#pragma once

#include "backends/instance/lxc/cgroup_tree.hpp"

#include <chrono>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe::lxc {

// Ending what does not end by itself: processes that outlived their init's parent, or that hang in the kernel. A call
// takes as long as it is given, and no longer.

/// Cuts the connections of file systems that were mounted by `processes` for themselves (FUSE): who waits for an answer
/// of theirs gets an error and can die. What this process sees mounted as well is the host's, and is left alone.
void cut_own_file_systems(const std::vector<pid_t>& processes);

/// Kills all of an instance's groups and waits for their end. What is still there then hangs in the kernel.
std::vector<pid_t> kill_all(const cgroup_tree& groups, const std::string& key, group_part part,
                            std::chrono::milliseconds patience);

/// The same of its monitor as well, and frees the instance's name of what hangs: it is moved to the caller's own
/// groups, where nothing of it will ever run, since its kill is pending. Returns it.
std::vector<pid_t> clear_away(const cgroup_tree& groups, const std::string& key, std::chrono::milliseconds patience);

/// False: it did not end in time.
bool await_end(pid_t process, std::chrono::milliseconds patience);

} // namespace troupe::lxc
