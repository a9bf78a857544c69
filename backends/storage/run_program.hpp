#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// Runs a program of btrfs-progs or the like to its end and returns what it wrote to standard output. `arguments[0]` is
/// looked up in the system's own directories, never in PATH. `backend_failed` carries the last line it complained in.
/// `kept_open` is inherited: a lock on it lasts until the program ends, even if we die first.
outcome<std::string> run_program(std::vector<std::string> arguments, int kept_open = -1);

/// Starts one whose output is for the caller; he reaps it. What it complains of goes into the file `complaints`.
outcome<pid_t> start_program(std::vector<std::string> arguments, int output, int complaints, int kept_open = -1);
/// The last line of such a file.
std::string last_complaint(const unique_fd& complaints);

} // namespace troupe
