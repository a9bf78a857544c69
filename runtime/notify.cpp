#include "runtime/notify.hpp"

#include "messages/unique_fd.hpp"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>

namespace troupe {
namespace {

void notify(std::string_view what) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  std::string_view path = name ? name : "";
  sockaddr_un to{};
  if (path.empty() || (path[0] != '/' && path[0] != '@') || path.size() >= sizeof to.sun_path) return;
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, path.data(), path.size());
  bool abstract = path[0] == '@';
  if (abstract) to.sun_path[0] = '\0'; // and its length counts: no zero ends the name
  auto length = offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1);
  unique_fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (socket)
    ::sendto(socket.get(), what.data(), what.size(), MSG_NOSIGNAL | MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to),
             static_cast<socklen_t>(length));
}

} // namespace

void notify_ready() { notify("READY=1"); }

void notify_stopping() { notify("STOPPING=1"); }

} // namespace troupe
