#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

outcome<uint64_t> size_of(const unique_fd& file);

/// An unnamed file in `directory`, mode 0600; `linkat` may name it.
outcome<unique_fd> unnamed_file(const std::string& directory);

/// Bytes [from, from + count) of `source` to the start of `target`; shares blocks where the file system can.
outcome<void> copy_range(const unique_fd& source, uint64_t from, uint64_t count, const unique_fd& target);

/// Reads `count` bytes at `offset`, or fewer at the end of the file.
outcome<size_t> read_at(const unique_fd& file, uint64_t offset, char* out, size_t count);

/// 64 lower-case hexadecimal digits.
bool is_fingerprint(std::string_view text) noexcept;

} // namespace troupe
