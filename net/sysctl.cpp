#include "net/sysctl.hpp"

#include "messages/unique_fd.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace troupe {
namespace {

std::string full(const std::string& path) { return "/proc/sys/net/" + path; }

} // namespace

std::optional<std::string> read_net_sysctl(const std::string& path) {
  unique_fd fd{open(full(path).c_str(), O_RDONLY | O_CLOEXEC)};
  char text[256];
  ssize_t size = fd ? read(fd.get(), text, sizeof text) : -1;
  if (size < 0) return {};
  std::string out{text, static_cast<size_t>(size)};
  while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
  return out;
}

outcome<void> set_net_sysctl(const std::string& path, const std::string& value) {
  if (read_net_sysctl(path) == value) return {};
  unique_fd fd{open(full(path).c_str(), O_WRONLY | O_CLOEXEC)};
  if (!fd || write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return fail_errno(errno, "Cannot set sysctl net/" + path + " to " + value);
  return {};
}

bool has_ipv6() {
  return read_net_sysctl("ipv6/conf/all/disable_ipv6") == "0" &&
         read_net_sysctl("ipv6/conf/default/disable_ipv6") == "0";
}

} // namespace troupe
