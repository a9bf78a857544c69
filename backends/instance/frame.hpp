#pragma once

#include "messages/error.hpp"
#include "messages/message.hpp"
#include "messages/unique_fd.hpp"

#include <span>
#include <string>
#include <vector>

namespace troupe {

/// What travels between the daemon and its job: the bytes of one Cap'n Proto message and the descriptors that belong to
/// it.
struct frame {
  std::string bytes;
  std::vector<unique_fd> fds;
};

/// Bounds of one frame; a peer that passes them is refused.
constexpr size_t frame_bytes_max = 64 << 20;
constexpr size_t frame_fds_max = 6;

/// Sends a whole frame over a stream socket; blocks. The descriptors stay the caller's.
outcome<void> send_frame(int socket, std::string_view bytes, std::span<const int> fds = {});

/// Receives a whole frame; blocks. `cancelled` when the peer has closed before the first byte.
outcome<frame> receive_frame(int socket);

template <class Schema>
outcome<void> send_message(int socket, const message<Schema>& what, std::span<const int> fds = {}) {
  return send_frame(socket, what.bytes(), fds);
}

} // namespace troupe
