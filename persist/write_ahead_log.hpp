#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A group of commits as found in the log: their indexes and what they do.
struct logged {
  uint64_t first = 0;
  uint64_t last = 0;
  std::string bytes;
};

/// What has been committed but may not be in LMDB yet, in two files that are used in turn and over again: a commit is
/// one write to room that the disk has already set aside. A record is whole or it is not there (checksum); what an
/// earlier use left behind a record has a lower index and is not taken for its successor. Writer's thread only.
class write_ahead_log {
public:
  /// Opens or creates FOLDER/log.0 and log.1. Records of another database (`identity`) are fault::corrupt.
  static outcome<write_ahead_log> open(const std::string& folder, uint64_t identity);

  /// The records found by `open` that go beyond this index, in order. To be called once.
  std::vector<logged> take_found(uint64_t after);

  /// Whether `append` has a place for so many bytes; if not, a checkpoint makes it. Commits up to `checkpointed` are in
  /// LMDB: what they took is free.
  bool fits(size_t bytes, uint64_t checkpointed) const;
  /// On disk when it returns. After a failure the record is not there, or, if not even that could be made sure of,
  /// nothing more is appended until it can.
  outcome<void> append(uint64_t first, uint64_t last, std::string_view bytes, uint64_t checkpointed);
  /// One of the files is waiting for a checkpoint to be free again.
  bool wants_checkpoint(uint64_t checkpointed) const;

private:
  struct segment {
    std::string path;
    unique_fd file;    // O_DSYNC
    uint64_t end = 0;  // of its last record
    uint64_t last = 0; // index of that
    uint64_t room = 0; // bytes set aside
  };

  outcome<void> read(segment& from);
  outcome<void> make_room(segment& in);
  outcome<void> scrub();
  bool is_free(const segment& s, uint64_t checkpointed) const { return s.last <= checkpointed; }

  uint64_t identity_ = 0;
  std::array<segment, 2> segments_;
  size_t active_ = 0;
  bool torn_ = false; // a failed append may have left a whole record at the active segment's end
  std::vector<logged> found_;
};

} // namespace troupe
