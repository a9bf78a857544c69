#pragma once

#include "backends/image/helper_call.hpp"
#include "backends/storage/storage_driver.hpp"

namespace troupe {

/// Where a stream comes from.
struct stream_input {
  unique_fd file;                             // what the helper reads
  std::optional<helper_call::feed> feed = {}; // who fills it meanwhile
};

/// Streams of `btrfs send` that belong together, received one after the other: each says what its volume has besides
/// the one before. Only for pools of the driver "btrfs". All calls block.
class stream_series {
public:
  /// `bytes_max`: of the files of one volume.
  stream_series(storage_driver& driver, uint64_t bytes_max) : driver_{driver}, bytes_max_{bytes_max} {}

  /// Fills a volume that is not there yet; it becomes visible when it is complete. What the stream is of is hostile;
  /// the helper that reads it is confined. Returns the backup.yaml that it held, if any: no volume of ours has one.
  outcome<std::optional<std::string>> receive(stream_input stream, const volume_id& into, const progress_sink& progress,
                                              const cancel_token* stop);

private:
  struct received {
    volume_id volume;
    std::string id; // as the stream told it
  };
  storage_driver& driver_;
  uint64_t bytes_max_;
  std::optional<received> last_;
};

/// What was received must be a container's volume. Its backup.yaml is taken out of it.
outcome<std::optional<std::string>> settle_received(const std::string& directory);

} // namespace troupe
