#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <span>
#include <string>
#include <sys/types.h>

namespace troupe {

struct listen_address;

/// A bound and listening unix socket. The file goes with it, unless somebody else has put another one there.
class unix_listener {
public:
  /// Replaces a stale socket file; refuses one that somebody answers on, and files that are no sockets.
  static outcome<unix_listener> open(const std::string& path, int mode);
  unix_listener(unix_listener&&) noexcept = default;
  unix_listener& operator=(unix_listener&&) = delete;
  ~unix_listener();

  unique_fd take_socket() { return std::move(socket_); }

private:
  unix_listener() = default;

  unique_fd socket_;
  std::string path_; // empty once moved from
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

/// A listening TCP socket. `own`: sockets of ours that may overlap with it, so that one listener can
/// follow another without a moment between them. fault::in_use: somebody else has the address.
outcome<unique_fd> listen_tcp(const listen_address& where, std::span<const int> own);

} // namespace troupe
