#pragma once

#include <cstddef>
#include <string>

namespace troupe {

/// A time-ordered UUID (version 7 of RFC 9562): of two made by this process, the later one is greater, also as text.
std::string make_uuid_v7();

/// A random UUID (version 4), for what must tell nothing about its making.
std::string make_uuid_v4();

/// A secret: so many bytes of the kernel's randomness as lower-case hexadecimal digits, two each.
std::string random_hex(size_t bytes);

} // namespace troupe
