#pragma once

#include "backends/cancel_token.hpp"
#include "backends/image/image_store.hpp"
#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <string>

namespace troupe {

struct disk_conversion {
  std::string program;    // path of troupe-convert
  std::string from;       // what `source` is declared to be, whatever its first bytes say: see disk_formats.hpp
  std::string to = "raw"; // or qcow2, which is compressed
  uint64_t bytes_max = 0; // of the file that is made; for raw that is what a machine sees
};

/// Converts a disk by the confined helper `troupe-convert`, sparsely, and puts it on disk. `source` is read only and
/// stays as it is, but root's group may read it from then on; `target` is an empty file of ours. Both must
/// have a name (any, but not none). Blocks; when it fails or is cancelled `target` holds anything. Progress is
/// in bytes of the source. fault::invalid: the disk is broken or too large.
outcome<void> convert_disk(const unique_fd& source, const unique_fd& target, const disk_conversion& how,
                           const progress_sink& progress, const cancel_token* stop);

} // namespace troupe
