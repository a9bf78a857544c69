#include "backends/instance/lxc/proc_facts.hpp"

#include "messages/unique_fd.hpp"

#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace troupe::lxc {

std::string read_small(const std::string& path) {
  unique_fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string text;
  char part[4096];
  for (ssize_t n = 1; fd && n > 0;) {
    n = ::read(fd.get(), part, sizeof part);
    if (n > 0) text.append(part, static_cast<size_t>(n));
  }
  return text;
}

proc_facts read_proc(pid_t pid) {
  auto text = pid > 0 ? read_small("/proc/" + std::to_string(pid) + "/stat") : std::string{};
  // The command name may hold anything, so the fields are counted from its closing parenthesis.
  auto at = text.rfind(')');
  if (at == std::string::npos) return {};
  proc_facts facts;
  unsigned long long start = 0;
  std::sscanf(text.c_str() + at + 1, " %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
              &facts.state, &facts.parent, &start);
  facts.start = start;
  return facts;
}

std::string read_status(pid_t pid, const char* field) {
  auto text = "\n" + read_small("/proc/" + std::to_string(pid) + "/status");
  auto at = text.find(std::string{"\n"} + field + ":");
  if (at == std::string::npos) return {};
  at = text.find_first_not_of(" \t", text.find(':', at) + 1);
  return at == std::string::npos ? std::string{} : text.substr(at, text.find('\n', at) - at);
}

} // namespace troupe::lxc
