#include "net/proxy/helper/forwarder.hpp"
#include "net/proxy/helper/socket_address.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::proxy {
namespace {

std::string name_of(const proxy_address& where, size_t index) {
  return where.is_unix() ? where.host : where.host + " port " + std::to_string(where.ports[index]);
}

/// Of a file in the current folder: whatever lies above it, nobody can put something else there.
sockaddr_un address_here(const std::string& file) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  std::memcpy(out.sun_path, file.data(), std::min(file.size(), sizeof out.sun_path - 1));
  return out;
}

/// A socket whose owner is gone would keep the name for ever.
void remove_stale(const std::string& file, const sockaddr_un& address) {
  struct stat st {};
  if (::lstat(file.c_str(), &st) < 0 || !S_ISSOCK(st.st_mode)) return;
  unique_fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 && errno == ECONNREFUSED)
    ::unlink(file.c_str());
}

/// Binds and dresses it; errno. What bears the name afterwards need not be what was bound, if others may write to the
/// folder: it gets an owner only if it is a socket, and by descriptor.
int make_file(const listener& it, const owner_of_socket& owner) {
  if (::fchdir(it.folder.get()) < 0) return errno;
  auto address = address_here(it.file);
  remove_stale(it.file, address);
  ::umask(~owner.mode & 0777); // it is made with its mode
  if (::bind(it.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return errno;
  unique_fd made{::open(it.file.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
  struct stat st {};
  if (!made || ::fstat(made.get(), &st) < 0) return errno;
  if (!S_ISSOCK(st.st_mode)) return ENOTSOCK;
  return ::fchownat(made.get(), "", owner.uid, owner.gid, AT_EMPTY_PATH) < 0 ? errno : 0;
}

/// The same with the rights of the root of a user namespace, and no others.
int make_file_as(int root, const listener& it, const owner_of_socket& owner) {
  pid_t maker = ::fork();
  if (maker < 0) return errno;
  if (maker == 0) {
    bool became = ::setns(root, CLONE_NEWUSER) == 0 && ::setgroups(0, nullptr) == 0 && ::setresgid(0, 0, 0) == 0 &&
                  ::setresuid(0, 0, 0) == 0;
    ::_exit(became ? make_file(it, owner) : errno);
  }
  int status = 0;
  while (::waitpid(maker, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

outcome<void> bind_to_file(listener& it, const std::string& path, const owner_of_socket& owner, int root) {
  auto slash = path.rfind('/');
  it.file = path.substr(slash + 1);
  it.folder = unique_fd{::open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!it.folder) return fail_errno(errno, "Cannot open the folder of " + path);
  int problem = root < 0 ? make_file(it, owner) : make_file_as(root, it, owner);
  if (::chdir("/") < 0) return fail_errno(errno, "Cannot leave the folder of " + path);
  return problem == 0 ? outcome<void>{} : fail_errno(problem, "Cannot listen on " + path);
}

outcome<listener> open_one(const proxy_address& where, size_t index, const owner_of_socket& owner, int root) {
  listener out;
  out.index = index;
  out.datagrams = where.what == proxy_address::kind::udp;
  auto address = to_socket_address(where, index);
  int type = (out.datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
  out.socket = unique_fd{::socket(address.get()->sa_family, type, 0)};
  if (!out.socket) return fail_errno(errno, "Cannot make a socket");
  int one = 1;
  ::setsockopt(out.socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (where.what == proxy_address::kind::unix_path) {
    if (auto bound = bind_to_file(out, where.host, owner, root); !bound) return tl::unexpected{bound.error()};
  } else if (::bind(out.socket.get(), address.get(), address.size) < 0) {
    return fail_errno(errno, "Cannot listen on " + name_of(where, index));
  }
  if (!out.datagrams && ::listen(out.socket.get(), SOMAXCONN) < 0)
    return fail_errno(errno, "Cannot listen on " + name_of(where, index));
  return out;
}

} // namespace

outcome<std::vector<listener>> open_listeners(const proxy_address& where, const owner_of_socket& owner, int root) {
  std::vector<listener> out;
  for (size_t i = 0; i < (where.is_unix() ? 1 : where.ports.size()); ++i) {
    auto one = open_one(where, i, owner, root);
    if (!one) return tl::unexpected{one.error()};
    out.push_back(std::move(*one));
  }
  return out;
}

} // namespace troupe::proxy
