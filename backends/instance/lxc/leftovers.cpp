#include "backends/instance/lxc/leftovers.hpp"

#include "backends/instance/lxc/proc_facts.hpp"
#include "messages/unique_fd.hpp"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <set>
#include <sstream>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

using clock = std::chrono::steady_clock;

unique_fd open_process(pid_t pid) { return unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))}; }

bool ends_before(int pidfd, clock::time_point deadline) {
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock::now()).count();
  pollfd end{pidfd, POLLIN, 0};
  return ::poll(&end, 1, static_cast<int>(std::max<int64_t>(left, 0))) != 0;
}

/// Device numbers ("0:57") of the FUSE file systems that a process sees.
std::set<std::string> file_systems_of(const std::string& process) {
  std::set<std::string> found;
  std::istringstream table{read_small("/proc/" + process + "/mountinfo")};
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields{line};
    std::string id, parent, device, type;
    fields >> id >> parent >> device;
    if (auto behind = line.find(" - "); behind != std::string::npos) type = line.substr(behind + 3, 5);
    if (type.starts_with("fuse ") || type.starts_with("fuse.")) found.insert(device);
  }
  return found;
}

/// The kernel's folder of connections, wherever the host may have mounted it.
unique_fd open_connections() {
  unique_fd context{static_cast<int>(::syscall(SYS_fsopen, "fusectl", FSOPEN_CLOEXEC))};
  if (!context || ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) return {};
  return unique_fd{static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0))};
}

void abort_connection(int connections, const std::string& device) {
  auto path = device.substr(device.find(':') + 1) + "/abort";
  unique_fd file{::openat(connections, path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (file && ::write(file.get(), "1", 1) < 0) return; // it has gone by itself
}

std::vector<std::pair<pid_t, unique_fd>> open_processes(const std::vector<pid_t>& processes) {
  std::vector<std::pair<pid_t, unique_fd>> out;
  for (auto pid : processes)
    if (auto pidfd = open_process(pid)) out.emplace_back(pid, std::move(pidfd));
  return out;
}

} // namespace

void cut_own_file_systems(const std::vector<pid_t>& processes) {
  std::set<std::string> own;
  for (auto pid : processes) own.merge(file_systems_of(std::to_string(pid)));
  for (auto& device : file_systems_of("self")) own.erase(device);
  if (own.empty()) return;
  auto connections = open_connections();
  for (auto& device : own)
    if (connections) abort_connection(connections.get(), device);
}

bool await_end(pid_t process, std::chrono::milliseconds patience) {
  auto pidfd = process > 0 ? open_process(process) : unique_fd{};
  return !pidfd || ends_before(pidfd.get(), clock::now() + patience);
}

std::vector<pid_t> kill_all(const cgroup_tree& groups, const std::string& key, group_part part,
                            std::chrono::milliseconds patience) {
  auto deadline = clock::now() + patience;
  auto processes = groups.processes(key, part);
  cut_own_file_systems(processes);
  while (!processes.empty() && clock::now() < deadline) { // what was forked meanwhile is seen by the next look
    auto ends = open_processes(processes);
    // Whoever was opened under a pid that had changed hands is not in the groups.
    processes = groups.processes(key, part);
    for (auto& [pid, pidfd] : ends)
      if (std::find(processes.begin(), processes.end(), pid) != processes.end())
        ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    groups.thaw(key);
    for (auto& [pid, pidfd] : ends) ends_before(pidfd.get(), deadline);
    processes = groups.processes(key, part);
  }
  return processes;
}

std::vector<pid_t> clear_away(const cgroup_tree& groups, const std::string& key, std::chrono::milliseconds patience) {
  auto hanging = kill_all(groups, key, group_part::all, patience);
  if (!hanging.empty()) groups.put_aside(hanging);
  groups.remove(key);
  return hanging;
}

} // namespace troupe::lxc
