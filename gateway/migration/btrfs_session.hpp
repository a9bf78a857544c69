#pragma once

#include "backends/storage/pool_layout.hpp"
#include "backends/transfer/stream/receive_stream.hpp"
#include "gateway/migration/message_channel.hpp"

namespace troupe {

using moved_bytes = std::function<void(uint64_t bytes)>; // now and then, with what it was since the last call

/// Sends a read-only subvolume as one part: all of it, or what it has besides the read-only `parent`. Blocks.
outcome<void> send_part(message_channel& over, const std::string& path, const std::string& parent,
                        const moved_bytes& moved);

/// Receives one part into a volume that is not there yet. Blocks.
outcome<void> receive_part_into(stream_series& series, const volume_id& into, message_channel& over,
                                const moved_bytes& moved);

/// What of a pool of the driver "btrfs" is sent: its snapshots are read-only, of the rest there is a copy as long as
/// this lives. Should we die first, the pool sweeps it.
class sealed_copy {
public:
  static outcome<sealed_copy> of(const std::string& path);
  sealed_copy(sealed_copy&& other) noexcept : staged_{std::move(other.staged_)} { other.staged_.path.clear(); }
  sealed_copy& operator=(sealed_copy&&) = delete;
  ~sealed_copy();
  const std::string& path() const noexcept { return staged_.path; }

private:
  explicit sealed_copy(staged_volume staged) : staged_{std::move(staged)} {}
  staged_volume staged_;
};

} // namespace troupe
