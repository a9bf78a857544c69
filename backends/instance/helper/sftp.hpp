#pragma once

#include "messages/error.hpp"

#include <cstdint>

namespace troupe::files {

/// Ids on disk are `base` above those told, and the instance has `count` of them; 0: all.
struct sftp_ids {
  uint32_t base = 0, count = 0;
};

/// Serves SFTP version 3 on `socket` until the peer closes it, about the tree below the directory `root` and nothing
/// else: paths resolve inside, only regular files and directories are opened.
/// `proc_self_fd`: see reopen.
outcome<void> serve_sftp(int socket, int root, int proc_self_fd, sftp_ids ids);

} // namespace troupe::files
