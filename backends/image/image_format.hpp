#pragma once

#include <cstdint>
#include <string_view>

namespace troupe {

/// What an image file is, by its magic number. Names, extensions and content types of clients are not trusted.
enum class image_format : uint8_t { unknown, tar, gzip, xz, lzma, bzip2, zstd, squashfs, qcow2 };

/// How many bytes from the start of a file `format_of` wants to see (fewer are fine for short files).
inline constexpr size_t format_head_size = 512;

image_format format_of(std::string_view head) noexcept;

/// The extension LXD gives such a file, with its dot; empty for unknown.
std::string_view extension_of(image_format format) noexcept;

/// Plain or compressed tar.
constexpr bool is_tar(image_format format) noexcept {
  return format >= image_format::tar && format <= image_format::zstd;
}

} // namespace troupe
