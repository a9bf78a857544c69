#include "backends/instance/lxc/syscalls/caller.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <sstream>
#include <sys/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::syscalls {
namespace {

constexpr int patience_ms = 10'000; // liblxc's monitor waits 30 seconds for an answer

std::string field(const std::string& status, const std::string& name) {
  auto at = ("\n" + status).find("\n" + name + ":");
  if (at == std::string::npos) return {};
  auto from = at + name.size() + 1;
  return status.substr(from, status.find('\n', from) - from);
}

/// The number of a namespace: "user:[4026531837]".
std::string namespace_of(int folder, const char* name) {
  char text[64] = {};
  return ::readlinkat(folder, name, text, sizeof text - 1) > 0 ? text : "";
}

bool set_capabilities(std::initializer_list<int> capabilities) {
  cap_t wanted = cap_init();
  for (int one : capabilities) {
    cap_value_t value[] = {one};
    cap_set_flag(wanted, CAP_PERMITTED, 1, value, CAP_SET);
    cap_set_flag(wanted, CAP_EFFECTIVE, 1, value, CAP_SET);
  }
  bool good = cap_set_proc(wanted) == 0;
  cap_free(wanted);
  return good;
}

int become(const caller& who, int mounts, int root, int base, std::initializer_list<int> capabilities) {
  if (::setns(mounts, CLONE_NEWNS) < 0 || ::fchdir(root) < 0 || ::chroot(".") < 0) return errno;
  if (base >= 0 && ::fchdir(base) < 0) return errno;
  if (::setgroups(who.groups.size(), who.groups.data()) < 0) return errno;
  ::setfsgid(who.gid);
  ::setfsuid(who.uid);
  ::umask(0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return set_capabilities(capabilities) ? 0 : errno;
}

bool enter(const std::string& group) {
  if (group.empty()) return true;
  unique_fd processes{::open((group + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC)};
  return processes && ::write(processes.get(), "0", 1) == 1; // 0: the writer
}

int await(pid_t child) {
  unique_fd end{static_cast<int>(::syscall(SYS_pidfd_open, child, 0))};
  pollfd wait{end.get(), POLLIN, 0};
  bool late = !end || ::poll(&wait, 1, patience_ms) != 1;
  if (late) ::kill(child, SIGKILL); // our child, and not reaped: cannot be another process
  int status = 0;
  if (late && ::waitpid(child, &status, WNOHANG) == 0) return ETIMEDOUT; // it hangs in the kernel, and ends behind us
  while (!late && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return late || !WIFEXITED(status) ? ETIMEDOUT : WEXITSTATUS(status);
}

} // namespace

std::optional<caller> identify(const notification& of) {
  auto status = of.file("status");
  caller who;
  std::istringstream uids{field(status, "Uid")}, gids{field(status, "Gid")}, groups{field(status, "Groups")};
  unsigned skip = 0;
  uids >> skip >> skip >> skip >> who.uid; // real, effective, saved, of files
  gids >> skip >> skip >> skip >> who.gid;
  for (gid_t one = 0; groups >> one;) who.groups.push_back(one);
  who.capabilities = std::strtoull(field(status, "CapEff").c_str(), nullptr, 16);
  auto own = namespace_of(of.process.get(), "ns/user");
  unique_fd leader{::open(("/proc/" + std::to_string(of.head.leader)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  who.in_instances_own = leader && !own.empty() && own == namespace_of(leader.get(), "ns/user");
  if (!uids || !gids || !of.is_valid()) return std::nullopt;
  return who;
}

unique_fd base_of(const notification& call, int directory) {
  if (directory == AT_FDCWD) return call.open("cwd", O_PATH | O_DIRECTORY);
  return call.open(("fd/" + std::to_string(directory)).c_str(), O_PATH);
}

int act_for(const notification& call, const caller& who, int base, std::initializer_list<int> capabilities,
            const std::function<int()>& act, const std::string& group) {
  auto mounts = call.open("ns/mnt", O_RDONLY), root = call.open("root", O_PATH | O_DIRECTORY);
  if (!mounts || !root || !call.is_valid()) return ESRCH;
  pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) {
    int problem = enter(group) ? become(who, mounts.get(), root.get(), base, capabilities) : EPERM;
    ::_exit(problem != 0 ? problem : act());
  }
  return await(child);
}

std::string group_of(const std::string& table, const std::string& controller) {
  std::istringstream lines{table};
  std::string unified;
  for (std::string line; std::getline(lines, line);) {
    auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    auto names = "," + line.substr(first + 1, second - first - 1) + ",";
    if (names == ",,") unified = "/sys/fs/cgroup" + line.substr(second + 1);
    if (names.find("," + controller + ",") != std::string::npos)
      return "/sys/fs/cgroup/" + names.substr(1, names.size() - 2) + line.substr(second + 1);
  }
  return unified;
}

std::optional<place> walk(const std::string& path) {
  auto end = path.find_last_not_of('/');
  if (end == std::string::npos) {
    errno = EEXIST;
    return std::nullopt;
  }
  auto slash = path.find_last_of('/', end);
  auto name =
      path.substr(slash == std::string::npos ? 0 : slash + 1, end - (slash == std::string::npos ? 0 : slash + 1) + 1);
  auto folder = slash == std::string::npos ? std::string{"."} : slash == 0 ? std::string{"/"} : path.substr(0, slash);
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  unique_fd there{static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, folder.c_str(), &how, sizeof how))};
  if (!there) return std::nullopt;
  return place{std::move(there), name};
}

} // namespace troupe::syscalls
