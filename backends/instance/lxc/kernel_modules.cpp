#include "backends/instance/lxc/kernel_modules.hpp"

#include <algorithm>
#include <cerrno>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

/// The kernel writes every dash of a module's name as an underscore. Modules that are built in show only if they have
/// parameters; for the others modprobe knows.
bool is_there(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return ::access(("/sys/module/" + name).c_str(), F_OK) == 0;
}

bool modprobe(std::string name) {
  char program[] = "/sbin/modprobe", quiet[] = "-q", end[] = "--";
  char* argv[] = {program, quiet, end, name.data(), nullptr};
  char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  char* envp[] = {path, nullptr};
  pid_t pid = 0;
  if (posix_spawn(&pid, program, nullptr, nullptr, argv, envp) != 0) return false;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

} // namespace

outcome<void> load_modules(std::string_view list) {
  while (!list.empty()) {
    auto comma = std::min(list.find(','), list.size());
    std::string name{list.substr(0, comma)};
    list.remove_prefix(std::min(comma + 1, list.size()));
    std::erase(name, ' ');
    if (!name.empty() && !is_there(name) && !modprobe(name))
      return fail(fault::backend_failed, "The kernel module " + name + " cannot be loaded");
  }
  return {};
}

} // namespace troupe::lxc
