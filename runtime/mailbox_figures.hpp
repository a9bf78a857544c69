#pragma once

#include <atomic>
#include <cstdint>

namespace troupe {

/// What has become of an actor's messages. Any thread.
struct mailbox_figures {
  std::atomic<int64_t> waiting{0};  // sent and not handled yet
  std::atomic<uint64_t> handled{0}; // since the actor began
  std::atomic<uint64_t> busy_ns{0}; // spent handling them
};

} // namespace troupe
