#pragma once

#include "messages/error.hpp"

#include <string>

namespace troupe {

/// A module of ours: a shared object beside the program, with libraries that most daemons never need. It stays loaded.
/// unsupported: `needed_by` cannot be had here, with the reason. Any thread.
outcome<void*> load_module(const std::string& file, const std::string& needed_by);

} // namespace troupe
