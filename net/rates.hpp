#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string_view>

namespace troupe {

/// Bits per second of a rate as LXD writes it: a whole number and bit, kbit, Mbit, Gbit, Tbit (powers of 1000) or
/// Kibit, Mibit, Gibit, Tibit (of 1024); without a unit bits. Anything else, and 0, is `fault::invalid`.
outcome<uint64_t> parse_bits(std::string_view text);

} // namespace troupe
