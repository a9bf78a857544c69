#pragma once

#include <string>
#include <string_view>

namespace troupe {

/// SHA-256 of the bytes, lower-case hexadecimal.
std::string sha256_hex(std::string_view bytes);

} // namespace troupe
