#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string_view>

namespace troupe {

/// Bytes of a size as LXD writes it: a whole number and a unit, "10GiB", "5MB", "4096", "4096B", "4096 bytes".
/// Units are exact: kB, MB, … are powers of 1000, KiB, MiB, … of 1024. Anything else is `fault::invalid`.
outcome<uint64_t> parse_size(std::string_view text);

} // namespace troupe
