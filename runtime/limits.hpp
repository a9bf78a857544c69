#pragma once

#include "messages/error.hpp"

#include <cstdint>

namespace troupe {

/// Raises the limit of open descriptors to what is allowed, and returns it. Children started later inherit it.
outcome<uint64_t> raise_open_files();

} // namespace troupe
