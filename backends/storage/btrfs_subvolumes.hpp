#pragma once

#include "messages/error.hpp"

#include <string>

namespace troupe {

/// Whether the open directory is the root of a btrfs subvolume.
bool is_subvolume(int directory) noexcept;
bool is_read_only(int subvolume) noexcept;
bool set_read_only(int subvolume, bool wanted) noexcept;

outcome<void> make_subvolume(const std::string& path);
/// A writable snapshot in one step: `target` is complete or is not there. `already_exists` if something is.
/// Nested subvolumes come along too, step by step then: give a place nobody looks at.
outcome<void> make_snapshot(int source, const std::string& target);
bool has_nested_subvolumes(int subvolume) noexcept;

/// Deletes the subvolume `name` (open as `subvolume`) and all that are nested in it, by id, so that no path of the
/// guest is looked up. False if one of them cannot go that way (it is in a read-only one).
bool delete_subvolume(int parent, const char* name, int subvolume) noexcept;

} // namespace troupe
