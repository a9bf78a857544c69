#pragma once

#include "backends/storage/pool_layout.hpp"

#include <string>

namespace troupe {

// What the drivers that keep volumes as directories do alike.

/// A given source must be an existing empty directory that is not the pool's own place.
outcome<void> check_empty_source(const std::string& source, const pool_place& place);
outcome<void> make_pool_directory(const std::string& directory);
/// Removes the empty directory; gone is fine.
outcome<void> remove_pool_directory(const std::string& directory);

/// rootfs/ or root.img in a new volume of a kind that has one; such a volume is 0700, since what is below it may hold
/// set-uid programs of a guest that the host's users must not reach.
outcome<void> make_root(const std::string& volume, const volume_id& id);
/// Whether it is the volume of a virtual machine or a snapshot of one.
bool is_machine(const pool_layout& layout, const volume_id& id);
/// Grows its disk. A snapshot stays as it is, whatever is wished.
outcome<void> limit_machine(const pool_layout& layout, const volume_id& id, uint64_t bytes);
/// Of a container no virtual machine can be made, nor the other way round.
outcome<void> check_clone(const pool_layout& layout, const volume_id& source, const volume_id& target);
/// Only the volume of an image or a snapshot that exists can be sealed.
outcome<void> check_sealable(const pool_layout& layout, const volume_id& id);
/// Everything of the volume is on the disk afterwards, and nobody but root enters it; a custom volume's own directory
/// is its users' matter.
outcome<void> sync_volume(const std::string& volume, const volume_id& id);
outcome<uint64_t> volume_usage(const pool_layout& layout, const volume_id& id);
/// Removes all it can, then reports the first thing that it could not. No trash is an empty trash.
outcome<void> empty_pool_trash(const pool_layout& layout);

/// Removes the pool's directories with the trash in them, `in_use` while a volume is left. Where something is that is
/// not ours, `make` never succeeded, and all of it stays.
outcome<void> unmake_pool(const pool_layout& layout);

} // namespace troupe
