#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <optional>

namespace troupe {

// What an open subvolume may hold and holds, in bytes, shared extents included (btrfs quota groups of level 0). A
// subvolume that the guest makes inside counts for itself.

/// Limits the subvolume; the first limit on a file system turns its quotas on. 0: no limit.
outcome<void> limit_subvolume(int subvolume, uint64_t bytes);
/// None where the file system's quotas are off, or its numbers are being counted.
std::optional<uint64_t> subvolume_usage(int subvolume) noexcept;

} // namespace troupe
