#pragma once

#include "messages/error.hpp"

#include <string_view>

namespace troupe::lxc {

/// Loads the kernel modules of a list with commas, unless the kernel has them. Blocks while modprobe runs.
outcome<void> load_modules(std::string_view list);

} // namespace troupe::lxc
