#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>

namespace troupe::guest {

/// Opens the machine's serial port of that name. `in_use`: somebody else has it open, another agent most likely.
outcome<unique_fd> open_port(const std::string& name);

} // namespace troupe::guest
