#include "net/proxy/helper/forwarder.hpp"
#include "net/proxy/helper/socket_address.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::proxy {
namespace {

std::string name_of(const proxy_address& where, size_t index) {
  return where.is_unix() ? where.host : where.host + " port " + std::to_string(where.ports[index]);
}

/// A socket whose owner is gone would keep the name for ever.
void remove_stale(int folder, const std::string& file, const socket_address& address) {
  struct stat st {};
  if (::fstatat(folder, file.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISSOCK(st.st_mode)) return;
  unique_fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (::connect(probe.get(), address.get(), address.size) < 0 && errno == ECONNREFUSED)
    ::unlinkat(folder, file.c_str(), 0);
}

outcome<listener> open_one(const proxy_address& where, size_t index, const owner_of_socket& owner) {
  listener out;
  out.index = index;
  out.datagrams = where.what == proxy_address::kind::udp;
  auto address = to_socket_address(where, index);
  int type = (out.datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
  out.socket = unique_fd{::socket(address.get()->sa_family, type, 0)};
  if (!out.socket) return fail_errno(errno, "Cannot make a socket");
  int one = 1;
  ::setsockopt(out.socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  bool has_path = where.what == proxy_address::kind::unix_path;
  if (has_path) {
    auto slash = where.host.rfind('/');
    out.file = where.host.substr(slash + 1);
    out.folder = unique_fd{::open(where.host.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!out.folder) return fail_errno(errno, "Cannot open the folder of " + where.host);
    remove_stale(out.folder.get(), out.file, address);
  }
  ::umask(0177);
  bool bound = ::bind(out.socket.get(), address.get(), address.size) == 0;
  if (!bound) return fail_errno(errno, "Cannot listen on " + name_of(where, index));
  if (!out.datagrams && ::listen(out.socket.get(), SOMAXCONN) < 0)
    return fail_errno(errno, "Cannot listen on " + name_of(where, index));
  bool owned =
      !has_path || (::fchownat(out.folder.get(), out.file.c_str(), owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) == 0 &&
                    ::fchmodat(out.folder.get(), out.file.c_str(), owner.mode & 0777, 0) == 0);
  if (!owned) return fail_errno(errno, "Cannot set the owner of " + where.host);
  return out;
}

} // namespace

outcome<std::vector<listener>> open_listeners(const proxy_address& where, const owner_of_socket& owner) {
  std::vector<listener> out;
  for (size_t i = 0; i < (where.is_unix() ? 1 : where.ports.size()); ++i) {
    auto one = open_one(where, i, owner);
    if (!one) return tl::unexpected{one.error()};
    out.push_back(std::move(*one));
  }
  return out;
}

} // namespace troupe::proxy
