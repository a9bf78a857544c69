#include "gateway/http_listener.hpp"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace troupe {
namespace {

unique_fd make_socket() { return unique_fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}; }

/// A full backlog (EAGAIN) is somebody, too.
bool somebody_answers(const sockaddr_un& address) {
  auto probe = make_socket();
  if (!probe) return true; // not known: then nothing is removed
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
         errno != ECONNREFUSED;
}

outcome<void> remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, "Cannot look at " + path);
  }
  if (!S_ISSOCK(found.st_mode))
    return fail(fault::wrong_state, "Cannot listen on " + path + ": it is not a socket", path);
  if (somebody_answers(address)) return fail(fault::in_use, "Somebody listens on " + path + " already", path);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail_errno(errno, "Cannot remove the stale socket " + path);
  return {};
}

} // namespace

outcome<unix_listener> unix_listener::open(const std::string& path, int mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(fault::invalid, "The socket path " + path + " is longer than the kernel's limit of 107 bytes", path);
  memcpy(address.sun_path, path.data(), path.size());
  if (auto removed = remove_stale(path, address); !removed) return tl::unexpected{removed.error()};

  unix_listener made;
  made.socket_ = make_socket();
  if (!made.socket_) return fail_errno(errno, "Cannot make a socket");
  if (::bind(made.socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(errno, "Cannot bind " + path);
  made.path_ = path;
  struct stat own {};
  ::lstat(path.c_str(), &own);
  made.device_ = own.st_dev;
  made.inode_ = own.st_ino;
  // Nobody can connect before listen: the mode is in place first.
  if (::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0) return fail_errno(errno, "Cannot set the mode of " + path);
  if (::listen(made.socket_.get(), SOMAXCONN) != 0) return fail_errno(errno, "Cannot listen on " + path);
  return made;
}

unix_listener::~unix_listener() {
  struct stat found {};
  if (path_.empty() || ::lstat(path_.c_str(), &found) != 0) return;
  if (found.st_dev == device_ && found.st_ino == inode_) ::unlink(path_.c_str());
}

} // namespace troupe
