#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>

namespace troupe {

/// Where a daemon keeps everything: absolute paths below one directory, which it alone uses while this lives.
struct state_dir {
  std::string path; // canonical: no link, no "..", no "/" at the end
  std::string id;   // 8 hexadecimal digits made from `path`: names cgroups, nft tables, bridges of this daemon

  std::string unix_socket; // REST
  std::string bus_socket;  // message bus
  std::string database;    // LMDB environments
  std::string images;
  std::string spool; // uploads under way; on the same file system as the images, for O_TMPFILE and linkat
  std::string storage_pools;
  std::string disks; // loop files of pools
  std::string networks;
  std::string lxc;
  std::string machines; // what virtual machines have while they run
  std::string logs;
  std::string sinks; // what file sinks write
  std::string lock;

  unique_fd held; // the lock; the kernel frees it when the daemon ends, however it ends
};

/// Makes what is missing, sets modes and takes the lock. Ids of unprivileged containers may walk through the directory,
/// storage-pools, networks and lxc (0711); the rest is root's (0700). Idempotent. Errors: busy (another daemon uses
/// it), forbidden (it belongs to somebody else), invalid (too long for a socket's name), backend_failed.
outcome<state_dir> prepare_state_dir(const std::string& path);

} // namespace troupe
