#include "backends/instance/lxc/helper/leader.hpp"

#include "backends/instance/lxc/proc_facts.hpp"

#include <cstdio>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

bool is_leader(pid_t leader, uint32_t host_id, uint32_t count) {
  auto pids = read_status(leader, "NSpid");
  if (pids.find('\t') == std::string::npos || !pids.ends_with("\t1")) return false;
  if (count == 0) return true;
  unsigned inside = 1, outside = 0, size = 0;
  auto map = read_small("/proc/" + std::to_string(leader) + "/uid_map");
  return std::sscanf(map.c_str(), "%u %u %u", &inside, &outside, &size) == 3 && inside == 0 && outside == host_id;
}

} // namespace

outcome<unique_fd> open_leader(pid_t leader, uint32_t host_id, uint32_t count) {
  unique_fd pidfd{leader > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, leader, 0)) : -1};
  if (!pidfd || !is_leader(leader, host_id, count))
    return fail(fault::wrong_state, "The instance is not running any more");
  return pidfd;
}

} // namespace troupe::lxc
