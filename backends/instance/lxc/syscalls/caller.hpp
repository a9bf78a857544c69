#pragma once

#include "backends/instance/lxc/syscalls/notification.hpp"

#include <functional>
#include <initializer_list>
#include <string>

namespace troupe::syscalls {

/// Who waits, as the kernel says it: never a name, and only while the notification is valid.
struct caller {
  uid_t uid = 0; // of its file accesses, as the host sees it
  gid_t gid = 0;
  std::vector<gid_t> groups;
  uint64_t capabilities = 0;     // effective, in its own user namespace
  bool in_instances_own = false; // its user namespace is that of the instance's init, not one made inside
};
/// nullopt: it has gone.
std::optional<caller> identify(const notification& of);

/// Does `act` in a process of its own that sees what the caller sees (mounts, root, working directory `base`) and may
/// do what the caller may with files, plus these capabilities. Gives back act's result, an errno; ETIMEDOUT if it
/// hangs. What the caller can change meanwhile are only its own paths, which are walked with its own rights.
/// `group`: the control group that it enters first; empty: none.
int act_for(const notification& call, const caller& who, int base, std::initializer_list<int> capabilities,
            const std::function<int()>& act, const std::string& group = {});

/// The folder, on the host, of a process's group with that controller, by its /proc/PID/cgroup.
std::string group_of(const std::string& table, const std::string& controller);

/// What a path of a call is relative to: the working directory, or an open descriptor of the caller.
unique_fd base_of(const notification& call, int directory);

/// The folder of a path, without magic links on the way, and its last part. In `act` only.
struct place {
  unique_fd folder;
  std::string name;
};
std::optional<place> walk(const std::string& path); // errno tells why not

} // namespace troupe::syscalls
