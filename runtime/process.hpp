#pragma once

#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// The process with exactly these arguments, 0: there is none. For children that outlive the daemon, whose command
/// names something that only they have. Reads /proc, so it blocks.
pid_t find_process(const std::vector<std::string>& command);

} // namespace troupe
