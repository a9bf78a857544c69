#pragma once

#include "messages/error.hpp"

#include <string>
#include <vector>

namespace troupe::qemu {

/// What the driver tells troupe-qemu by words:
///   start kvm|tcg COUNT GROUP... PROGRAM ARGUMENT...
struct start_order {
  bool kvm = false;
  std::vector<std::string> groups;  // directories of control groups to enter
  std::vector<std::string> command; // program (absolute) and arguments
};

// Its descriptors beside 1 (report) and 2 (complaints); QEMU's own begin at `first_descriptor`.
constexpr int directory_descriptor = 3; // the machine's run directory: gets "pid"
constexpr int output_descriptor = 4;    // what QEMU prints
constexpr int first_descriptor = 5;

/// "PID START BOOT": a process, when it began (field 22 of its stat) and in which life of the host.
constexpr const char* pid_file = "pid";

} // namespace troupe::qemu
