#pragma once

#include "messages/error.hpp"

#include <string>
#include <vector>

namespace troupe {

/// One call of a path such as `instances.get(c1).start`; the words in brackets are its text parameters, in order.
struct bus_step {
  std::string method;
  std::vector<std::string> words;
};

/// Splits a path. Errors: fault::invalid.
outcome<std::vector<bus_step>> parse_bus_path(const std::string& path);

} // namespace troupe
