#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <sys/types.h>

namespace troupe::unpack {

/// Dies with `parent`, also if it is gone already.
outcome<void> die_with(pid_t parent);

/// Makes `target` (an empty tmpfs when there is none) the whole visible file system, gives up every right but those to
/// set owners, modes and file capabilities, and returns the new root. Nothing hostile may be read before.
///
/// Why no user namespace: image files must land with their own ids and with version 2 file capabilities, which a user
/// namespace rewrites; and it would hand out the kernel's namespaced interfaces again. Instead: own mount (pivot_root),
/// network, ipc, uts and cgroup namespaces; an id no other process has, so that it can neither signal nor trace one;
/// five capabilities that mean nothing outside the visible files; no new privileges; a list of allowed system calls;
/// limits.
outcome<unique_fd> confine(unique_fd target, uint64_t bytes_max);

/// The list of allowed system calls; everything else answers EPERM.
outcome<void> allow_file_calls_only();

} // namespace troupe::unpack
