#include "messages/unique_fd.hpp"
#include "net/links.hpp"
#include "net/names.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace troupe {
namespace {

/// A value of one line; empty where the kernel was built without it.
std::string read_value(int dir, const char* name) {
  unique_fd fd{openat(dir, name, O_RDONLY | O_CLOEXEC)};
  char text[64];
  ssize_t size = fd ? read(fd.get(), text, sizeof text) : -1;
  std::string out{text, size > 0 ? static_cast<size_t>(size) : 0};
  return out.substr(0, out.find('\n'));
}

uint64_t read_number(int dir, const char* name) {
  auto text = read_value(dir, name);
  uint64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

} // namespace

outcome<bridge_facts> get_bridge(const std::string& name) {
  if (!is_interface_name(name)) return fail(fault::invalid, "The bridge's name is malformed");
  const std::string base = "/sys/class/net/" + name;
  unique_fd dir{open((base + "/bridge").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!dir) return fail_errno(errno, "Cannot read bridge " + name);
  bridge_facts out;
  out.id = read_value(dir.get(), "bridge_id");
  out.stp = read_number(dir.get(), "stp_state") != 0;
  out.vlan_filtering = read_number(dir.get(), "vlan_filtering") != 0;
  out.forward_delay = read_number(dir.get(), "forward_delay");
  out.vlan_default = read_number(dir.get(), "default_pvid");

  std::unique_ptr<DIR, int (*)(DIR*)> ports{opendir((base + "/brif").c_str()), closedir};
  if (!ports) return fail_errno(errno, "Cannot read the ports of bridge " + name);
  while (auto* entry = readdir(ports.get()))
    if (entry->d_name[0] != '.') out.upper_devices.emplace_back(entry->d_name);
  std::sort(out.upper_devices.begin(), out.upper_devices.end());
  return out;
}

} // namespace troupe
