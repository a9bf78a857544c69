#pragma once

#include "messages/error.hpp"

#include <span>
#include <string>

namespace troupe {

/// Lower-case hex SHA-256 over the whole content of the files, one after the other: LXD's image fingerprint.
outcome<std::string> sha256_of_files(std::span<const int> fds);

} // namespace troupe
