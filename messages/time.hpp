#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// A point in time as REST shows it, from nanoseconds since 1970: UTC with "Z", a fraction of up to nine digits without
/// trailing zeros. 0 means "never" and is "0001-01-01T00:00:00Z", as LXD's clients expect.
std::string to_rfc3339(int64_t ns);

/// The reverse, for any offset from UTC and "0001-01-01T00:00:00Z" as 0. invalid: not such a time, or not within the
/// years 1678 to 2261 that nanoseconds can count.
outcome<int64_t> from_rfc3339(std::string_view text);

} // namespace troupe
