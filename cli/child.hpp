#pragma once

#include "messages/error.hpp"

#include <functional>
#include <string>
#include <vector>

namespace troupe {

class interrupt;

struct child_request {
  std::vector<std::string> arguments;                         // the program first; found by PATH
  std::vector<std::string> environment = {};                  // NAME=value, beside our own
  std::function<void(const std::string&)> on_error_line = {}; // every line of its stderr
};

struct child_result {
  int exit_code = 0;       // 128 + n when killed by signal n
  std::string output;      // its stdout
  std::string last_errors; // the end of its stderr
};

/// Runs a program to its end, in its own process group with stdin from /dev/null. When `stop` fires the group is asked
/// to end (SIGTERM), then killed, and the call fails with `cancelled`. not_found: there is no such program.
outcome<child_result> run_child(const child_request& request, const interrupt& stop);

} // namespace troupe
