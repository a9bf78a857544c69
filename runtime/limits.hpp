#pragma once

#include "messages/error.hpp"

#include <cstdint>

namespace troupe {

/// Raises the limit of open descriptors to what is allowed, and returns it. Children started later inherit it.
outcome<uint64_t> raise_open_files();

/// Makes malloc give memory back: few arenas, big blocks mapped one by one. Call first in main, before any thread
/// starts.
void tune_allocator();

} // namespace troupe
