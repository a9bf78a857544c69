#include "backends/instance/helper/confined.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace troupe::files {

unique_fd open_proc_self_fd() { return unique_fd{::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)}; }

unique_fd reopen(int proc_self_fd, int path_fd, int flags) {
  return unique_fd{::openat(proc_self_fd, std::to_string(path_fd).c_str(), flags | O_CLOEXEC | O_NOCTTY)};
}

outcome<split_path> split(const std::string& path) {
  split_path result;
  for (size_t at = 0; at < path.size();) {
    auto end = path.find('/', at);
    auto part = path.substr(at, end == std::string::npos ? end : end - at);
    at = end == std::string::npos ? path.size() : end + 1;
    if (part.empty() || part == ".") continue;
    if (!result.name.empty()) result.parent.append("/").append(result.name);
    result.name = std::move(part);
  }
  if (result.name.empty()) return fail(fault::invalid, "The root directory itself cannot be changed");
  if (result.name == "..") return fail(fault::invalid, "The path ends in \"..\": " + path);
  if (result.parent.empty()) result.parent.push_back('/');
  return result;
}

outcome<unique_fd> make_directories(int root, const std::string& path) {
  if (auto there = open_confined(root, path, O_PATH | O_DIRECTORY)) return there;
  if (errno != ENOENT) return fail_errno(errno, "Cannot open the directory " + path);
  auto parts = split(path);
  if (!parts) return tl::unexpected{parts.error()};
  auto parent = make_directories(root, parts->parent);
  if (!parent) return parent;
  if (::mkdirat(parent->get(), parts->name.c_str(), 0755) < 0 && errno != EEXIST)
    return fail_errno(errno, "Cannot make the directory " + path);
  auto made = open_confined(root, path, O_PATH | O_DIRECTORY);
  if (!made) return fail_errno(errno, "Cannot open the directory " + path);
  return made;
}

outcome<void> write_all(int fd, const char* data, size_t size, const std::string& what) {
  while (size > 0) {
    auto n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "Cannot write " + what);
    data += n;
    size -= static_cast<size_t>(n);
  }
  return {};
}

} // namespace troupe::files
