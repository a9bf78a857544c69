#pragma once

#include "net/cidr.hpp"

#include <optional>
#include <string_view>
#include <vector>

namespace troupe {

struct address_range {
  cidr first, last;
};

/// The parts of a comma separated list, without the spaces around them; an empty part stays an (invalid) empty part.
std::vector<std::string_view> split_list(std::string_view text);
/// "10.0.0.2-10.0.0.9,10.0.0.20-10.0.0.30"; nothing if any part is malformed or runs backwards; at most 64 ranges.
std::optional<std::vector<address_range>> parse_ranges(std::string_view text, int family);

} // namespace troupe
