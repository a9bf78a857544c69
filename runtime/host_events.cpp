#include "runtime/host_events.hpp"

#include <array>
#include <cerrno>
#include <linux/netlink.h>
#include <string_view>
#include <sys/socket.h>
#include <utility>

namespace troupe {
namespace {

constexpr unsigned kernel_group = 1;
constexpr int buffer_bytes = 1 << 20;

/// Of a device with a node that came or went; cards of instances and the like are no news here.
bool concerns_a_node(std::string_view message) {
  auto has = [&](std::string_view field) { return message.find(field) != message.npos; };
  constexpr std::string_view end{"\0", 1};
  auto is = [&](std::string_view field) { return has(std::string{end} + std::string{field}); };
  return is("MAJOR=") && (is(std::string{"ACTION=add"} + '\0') || is(std::string{"ACTION=remove"} + '\0'));
}

} // namespace

struct host_events::data {
  unique_fd socket;
  loop::handle_ptr handle;
  std::function<void()> changed;

  void read_all() {
    bool news = false;
    std::array<char, 8192> text{};
    for (;;) {
      sockaddr_nl from{};
      socklen_t length = sizeof from;
      auto n =
          recvfrom(socket.get(), text.data(), text.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &length);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == ENOBUFS) { // some were lost: look at everything
        news = true;
        continue;
      }
      if (n <= 0) break;
      if (from.nl_pid == 0) news = concerns_a_node({text.data(), static_cast<size_t>(n)}) || news;
    }
    if (news && changed) changed();
  }
};

outcome<std::unique_ptr<host_events>> host_events::listen(loop& on, std::function<void()> changed) {
  auto it = std::make_shared<data>();
  it->changed = std::move(changed);
  it->socket.reset(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl to{};
  to.nl_family = AF_NETLINK;
  to.nl_groups = kernel_group;
  setsockopt(it->socket.get(), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
  if (!it->socket || bind(it->socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
    return fail_errno(errno, "Cannot listen to the kernel's device events");
  return std::unique_ptr<host_events>{new host_events{on, std::move(it)}};
}

host_events::host_events(loop& on, std::shared_ptr<data> it) : on_{on}, data_{std::move(it)} {
  on.post([&on, d = data_] {
    if (!d->changed) return; // dropped before it began
    d->handle = on.watch_readable(d->socket.get(), [weak = std::weak_ptr{d}] {
      if (auto alive = weak.lock()) alive->read_all();
    });
  });
}

host_events::~host_events() {
  on_.post([d = std::move(data_)] {
    d->changed = nullptr;
    d->handle.reset();
  });
}

} // namespace troupe
