#pragma once

#include <algorithm>
#include <iterator>
#include <string_view>

namespace troupe {

// Formats of disks by qemu's words for them.

inline constexpr std::string_view formats_read[] = {"raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc"};
inline constexpr std::string_view formats_written[] = {"raw", "qcow2"};

constexpr bool can_convert_from(std::string_view format) noexcept {
  return std::find(std::begin(formats_read), std::end(formats_read), format) != std::end(formats_read);
}

constexpr bool can_convert_to(std::string_view format) noexcept {
  return std::find(std::begin(formats_written), std::end(formats_written), format) != std::end(formats_written);
}

} // namespace troupe
