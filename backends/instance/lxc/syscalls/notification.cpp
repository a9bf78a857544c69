#include "backends/instance/lxc/syscalls/notification.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe::syscalls {
namespace {

constexpr size_t packet_max = 16 << 10, descriptors = 3;

} // namespace

bool notification::is_valid() const {
  auto id = call.id;
  return ::ioctl(notifier.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

std::optional<std::string> notification::bytes_at(uint64_t address, size_t count) const {
  std::string out(count, '\0');
  if (::pread(memory.get(), out.data(), count, static_cast<off_t>(address)) != static_cast<ssize_t>(count))
    return std::nullopt;
  return out;
}

std::optional<std::string> notification::text_at(uint64_t address, size_t max) const {
  std::string out;
  constexpr size_t page = 4096;
  while (out.size() < max) { // the next page may not be there
    auto count = std::min(max - out.size(), page - (address + out.size()) % page);
    std::array<char, page> part{};
    auto n = ::pread(memory.get(), part.data(), count, static_cast<off_t>(address + out.size()));
    if (n <= 0) return std::nullopt;
    auto end = std::find(part.begin(), part.begin() + n, '\0');
    out.append(part.begin(), end);
    if (end != part.begin() + n) return out;
  }
  return std::nullopt;
}

bool notification::write_at(uint64_t address, const void* from, size_t count) const {
  return ::pwrite(memory.get(), from, count, static_cast<off_t>(address)) == static_cast<ssize_t>(count);
}

unique_fd notification::open(const char* name, int flags) const {
  return unique_fd{::openat(process.get(), name, flags | O_CLOEXEC)};
}

std::string notification::file(const char* name) const {
  auto fd = open(name, O_RDONLY);
  std::string out;
  std::array<char, 4096> part{};
  for (ssize_t n = 0; fd && (n = ::read(fd.get(), part.data(), part.size())) > 0;)
    out.append(part.data(), static_cast<size_t>(n));
  return out;
}

std::optional<notification> receive(int monitor) {
  notification out;
  out.bytes.resize(packet_max);
  iovec part{out.bytes.data(), out.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(descriptors * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t n = 0;
  do n = ::recvmsg(monitor, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  std::array<int, descriptors> fds{-1, -1, -1};
  for (auto* c = n > 0 ? CMSG_FIRSTHDR(&header) : nullptr; c; c = CMSG_NXTHDR(&header, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
      std::memcpy(fds.data(), CMSG_DATA(c), std::min<size_t>(c->cmsg_len - CMSG_LEN(0), sizeof fds));
  out.process.reset(fds[0]);
  out.memory.reset(fds[1]);
  out.notifier.reset(fds[2]);
  if (n < static_cast<ssize_t>(sizeof out.head) || !out.notifier) return std::nullopt;
  out.bytes.resize(static_cast<size_t>(n));
  std::memcpy(&out.head, out.bytes.data(), sizeof out.head);
  auto base = sizeof out.head + out.head.sizes.notification + out.head.sizes.answer;
  bool whole = out.head.sizes.notification >= sizeof out.call && out.head.sizes.answer >= sizeof(seccomp_notif_resp) &&
               base + out.head.cookie_length == out.bytes.size();
  if (!whole) return std::nullopt;
  std::memcpy(&out.call, out.bytes.data() + sizeof out.head, sizeof out.call);
  out.cookie.assign(out.bytes.begin() + static_cast<ptrdiff_t>(base), out.bytes.end());
  out.bytes.resize(base); // the answer has no cookie
  return out;
}

bool answer(int monitor, notification& to, const verdict& what) {
  seccomp_notif_resp reply{};
  reply.id = to.call.id;
  reply.val = what.value;
  reply.error = -what.error;
  reply.flags = what.go_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
  std::memcpy(to.bytes.data() + sizeof to.head + to.head.sizes.notification, &reply, sizeof reply);
  return ::send(monitor, to.bytes.data(), to.bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(to.bytes.size());
}

} // namespace troupe::syscalls
