#pragma once

#include "messages/error.hpp"

#include <map>
#include <string>

namespace troupe {

/// Writes the config drive of a virtual machine to `path` (replaced in one step): an ISO 9660 image labelled "cidata"
/// (NoCloud's label) with `files` by their paths (user-data, meta-data, …) and, beside them, our guest agent with what
/// installs and starts it. Blocks.
outcome<void> write_seed_drive(const std::string& path, const std::map<std::string, std::string>& files,
                               const std::string& agent_program);

} // namespace troupe
