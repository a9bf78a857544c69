#pragma once

#include "gateway/migration/message_channel.hpp"

namespace troupe {

/// One run of rsync, confined to a tree (backends/transfer), joined with a channel until both ends have said all.
struct rsync_session {
  enum class way : uint8_t { send, receive };
  std::string program; // troupe-rsync
  std::vector<std::string> options;
  std::function<void(uint64_t bytes)> moved; // now and then, with what it was since the last call
  bool vanished_is_fine = false;             // files that went while they were read

  /// Blocks. `tree`: a directory, or a mount without a place; it is sent, or becomes what is sent. backend_failed.
  outcome<void> run(way which, unique_fd tree, message_channel& over) const;
};

} // namespace troupe
