#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace troupe {

/// A time-ordered UUID (version 7 of RFC 9562): of two made by this process, the later one is greater, also as text.
std::string make_uuid_v7();

/// A random UUID (version 4), for what must tell nothing about its making.
std::string make_uuid_v4();

/// The same text always has the same one (version 8, from its SHA-256), another text another.
std::string uuid_of(std::string_view text);

/// A secret: so many bytes of the kernel's randomness as lower-case hexadecimal digits, two each.
std::string random_hex(size_t bytes);

} // namespace troupe
