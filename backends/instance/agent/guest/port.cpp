#include "backends/instance/agent/guest/port.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>

namespace troupe::guest {
namespace {

bool has_name(const std::string& folder, const std::string& name) {
  unique_fd file{::open((folder + "/name").c_str(), O_RDONLY | O_CLOEXEC)};
  char text[256];
  auto got = file ? ::read(file.get(), text, sizeof text) : 0;
  return got > 0 && std::string{text, static_cast<size_t>(got)} == name + "\n";
}

/// udev makes a link of the port's name; without it the kernel's list tells which one it is.
std::string path_of(const std::string& name) {
  auto link = "/dev/virtio-ports/" + name;
  if (::access(link.c_str(), F_OK) == 0) return link;
  constexpr const char* ports = "/sys/class/virtio-ports";
  DIR* list = ::opendir(ports);
  std::string out;
  while (auto* entry = list != nullptr ? ::readdir(list) : nullptr)
    if (entry->d_name[0] != '.' && has_name(std::string{ports} + "/" + entry->d_name, name))
      out = std::string{"/dev/"} + entry->d_name;
  if (list != nullptr) ::closedir(list);
  return out;
}

} // namespace

outcome<unique_fd> open_port(const std::string& name) {
  auto path = path_of(name);
  if (path.empty()) return fail(fault::not_found, "This machine has no serial port " + name);
  unique_fd port{::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)};
  if (port) return port;
  if (errno == EBUSY) return fail(fault::in_use, "Somebody else has the serial port " + name + " open");
  return fail_errno(errno, "Cannot open " + path);
}

} // namespace troupe::guest
