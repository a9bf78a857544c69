#pragma once

#include "messages/error.hpp"

#include <optional>

namespace troupe {

/// The format number of an environment's file, read without touching it; none if there is no file yet or its first
/// transaction never happened. fault::corrupt if it is no LMDB file, damaged or cut short.
outcome<std::optional<uint32_t>> probe_format(const std::string& path);

} // namespace troupe
