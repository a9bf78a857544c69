#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <sys/types.h>
#include <vector>

namespace troupe::unpack {

/// Dies with `parent`, also if it is gone already.
outcome<void> die_with(pid_t parent);

/// What a helper may do with the trees it sees.
/// receive: writes by commands of a foreign system, which rename, remove and clone, too.
enum class tree_access : uint8_t { read, write, receive };

/// A directory of the host; with `lower`, that as an overlay below it (read only).
struct visible_tree {
  unique_fd dir;
  unique_fd lower = {};
  bool only_read = false; // whatever is done with the others
};

/// Makes `trees` (none: nothing at all) the whole visible file system, gives up every right but those to read files, or
/// to set owners, modes and file capabilities, and returns their roots. Nothing hostile may be read before.
///
/// Why no user namespace: image files must land with their own ids and with version 2 file capabilities, which a user
/// namespace rewrites; and it would hand out the kernel's namespaced interfaces again. Instead: own mount (pivot_root),
/// network, ipc, uts and cgroup namespaces; an id no other process has, so that it can neither signal nor trace one;
/// few capabilities, that mean nothing outside the visible files; no new privileges; a list of allowed system calls;
/// limits.
outcome<std::vector<unique_fd>> confine(std::vector<visible_tree> trees, tree_access how, uint64_t bytes_max);

/// The list of allowed system calls; everything else answers EPERM.
outcome<void> allow_file_calls_only(tree_access how);

} // namespace troupe::unpack
