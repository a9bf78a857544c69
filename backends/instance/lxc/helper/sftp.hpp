#pragma once

#include "messages/error.hpp"

#include <cstdint>

namespace troupe::lxc {

/// Serves SFTP version 3 on `socket` until the peer closes it, about the tree below the directory `root` and nothing
/// else: paths resolve inside, only regular files and directories are opened. Ids on disk are `base` above those told.
/// `proc_self_fd`: see reopen.
outcome<void> serve_sftp(int socket, int root, int proc_self_fd, uint32_t base);

} // namespace troupe::lxc
