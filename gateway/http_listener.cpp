#include "gateway/http_listener.hpp"

#include "runtime/listen_address.hpp"

#include <cerrno>
#include <cstring>
#include <netinet/in.h>
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

namespace {

void set(int fd, int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof value); }

} // namespace

outcome<unique_fd> listen_tcp(const listen_address& where, std::span<const int> own) {
  bool v6 = where.socket.ss_family == AF_INET6;
  unique_fd made{::socket(where.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!made) return fail_errno(errno, "Cannot make a socket for " + where.text);
  set(made.get(), SOL_SOCKET, SO_REUSEADDR, 1); // connections of before may linger
  if (v6) set(made.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  auto size = static_cast<socklen_t>(v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
  auto try_it = [&] { // the kernel looks for others at both calls
    return ::bind(made.get(), reinterpret_cast<const sockaddr*>(&where.socket), size) == 0 &&
           ::listen(made.get(), SOMAXCONN) == 0;
  };
  bool listens = try_it();
  if (!listens && errno == EADDRINUSE && !own.empty()) {
    // For this moment only: with it left on, another daemon could take half of our connections.
    auto share = [&](int on) {
      for (int fd : own) set(fd, SOL_SOCKET, SO_REUSEPORT, on);
      set(made.get(), SOL_SOCKET, SO_REUSEPORT, on);
    };
    share(1);
    listens = try_it();
    int why = errno;
    share(0);
    errno = why;
  }
  if (listens) return made;
  if (errno == EADDRINUSE) return fail(fault::in_use, "Cannot listen on " + where.text + ": somebody else does");
  return fail_errno(errno, "Cannot listen on " + where.text);
}

unix_listener::~unix_listener() {
  struct stat found {};
  if (path_.empty() || ::lstat(path_.c_str(), &found) != 0) return;
  if (found.st_dev == device_ && found.st_ino == inode_) ::unlink(path_.c_str());
}

} // namespace troupe
