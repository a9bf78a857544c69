#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

// The disk of a virtual machine: `root.img` in its volume, raw and sparse. Only root enters the volume, and guests
// reach what the disk holds, never its name.

inline constexpr const char* root_disk_name = "root.img";

/// An empty one, in the open directory of a volume that has none; open for writing.
outcome<unique_fd> make_root_disk(int directory);
bool has_root_disk(const std::string& volume) noexcept;
/// By the folder that it lies in: POOL/virtual-machines/NAME.
bool is_machine_volume(std::string_view volume) noexcept;
/// What the machine sees, in bytes.
outcome<uint64_t> root_disk_size(const std::string& volume);
/// Makes it that large, rounded up to whole sectors; 0: it stays as it is. `invalid` where it would shrink.
outcome<void> grow_root_disk(const std::string& volume, uint64_t bytes);

/// Lets a file that holds nothing yet be written in place: copy on write below a disk only fragments. Where the file
/// system does not know that it is not needed.
void turn_off_cow(int file) noexcept;
bool is_cow_off(int file) noexcept;

} // namespace troupe
