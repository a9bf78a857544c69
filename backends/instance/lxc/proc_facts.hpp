#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace troupe::lxc {

/// What /proc says of one process; `state` is 0 when there is none. Never fails.
struct proc_facts {
  char state = 0; // 'Z' and 'X': dead
  pid_t parent = 0;
  uint64_t start = 0; // field 22 of stat, clock ticks since boot
  bool alive() const noexcept { return state != 0 && state != 'Z' && state != 'X'; }
};
proc_facts read_proc(pid_t pid);

/// The value of a field of /proc/PID/status without its blanks, e.g. "SigBlk"; empty when absent.
std::string read_status(pid_t pid, const char* field);

/// A whole small file; empty when it cannot be read.
std::string read_small(const std::string& path);

} // namespace troupe::lxc
