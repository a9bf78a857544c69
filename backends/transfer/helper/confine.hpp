#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <sys/types.h>

namespace troupe::transfer {

/// Dies with `parent`, also if it is gone already.
outcome<void> die_with(pid_t parent);

/// Leaves nothing but a tree of a container and what rsync itself needs: in own mount, network, IPC and UTS namespaces
/// the root is a read-only tmpfs with /usr (and /lib...) of the host, read-only as well, and the tree is the working
/// directory. No id of another process, no capability but those to set owners, modes, nodes and file capabilities
/// (`writable`), or those to read everything. Programs executed behind it keep this.
///
/// `tree`: a directory of a volume, or a mount that has no place yet. Nothing hostile may be read before.
outcome<void> confine(unique_fd tree, bool writable);

/// Where this program is found in there.
constexpr const char* own_path = "/join";

} // namespace troupe::transfer
