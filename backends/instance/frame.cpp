#include "backends/instance/frame.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>

namespace troupe {
namespace {

outcome<void> send_all(int socket, const char* data, size_t left) {
  while (left > 0) {
    auto n = ::send(socket, data, left, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "Cannot send to the helper's socket");
    data += n;
    left -= static_cast<size_t>(n);
  }
  return {};
}

tl::unexpected<error> receive_failed() {
  // A process that hangs in the kernel cannot even be killed: nobody waits for it for ever.
  if (errno == EAGAIN) return fail(fault::timed_out, "The instance's files or processes did not answer in time");
  return fail_errno(errno, "Cannot receive from the helper's socket");
}

outcome<void> receive_all(int socket, char* data, size_t left) {
  while (left > 0) {
    auto n = ::recv(socket, data, left, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return receive_failed();
    if (n == 0) return fail(fault::backend_failed, "The helper's socket was closed within a message");
    data += n;
    left -= static_cast<size_t>(n);
  }
  return {};
}

/// Room for the descriptors of one frame, aligned as the kernel wants it.
struct control_buffer {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(frame_fds_max * sizeof(int))> bytes{};
};

void take_descriptors(msghdr& header, std::vector<unique_fd>& into) {
  for (auto* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
      into.emplace_back(fd);
    }
  }
}

} // namespace

outcome<void> send_frame(int socket, std::string_view bytes, std::span<const int> fds) {
  if (bytes.size() > frame_bytes_max || fds.size() > frame_fds_max)
    return fail(fault::too_large, "The request to the helper is too large");
  uint32_t length = static_cast<uint32_t>(bytes.size());
  iovec part{&length, sizeof length};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  control_buffer control;
  if (!fds.empty()) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    auto* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  ssize_t n = 0;
  do n = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno(errno, "Cannot send to the helper's socket");
  auto sent = static_cast<size_t>(n);
  auto rest = send_all(socket, reinterpret_cast<const char*>(&length) + sent, sizeof length - sent);
  return rest ? send_all(socket, bytes.data(), bytes.size()) : rest;
}

outcome<frame> receive_frame(int socket) {
  uint32_t length = 0;
  iovec part{&length, sizeof length};
  control_buffer control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes.data();
  header.msg_controllen = control.bytes.size();
  ssize_t n = 0;
  do n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  frame result;
  if (n > 0) take_descriptors(header, result.fds);
  if (n == 0 || (n < 0 && errno == ECONNRESET))
    return fail(fault::cancelled, "The other end of the helper's socket has gone");
  if (n < 0) return receive_failed();
  auto got = static_cast<size_t>(n);
  if (auto rest = receive_all(socket, reinterpret_cast<char*>(&length) + got, sizeof length - got); !rest)
    return tl::unexpected{rest.error()};
  if (length > frame_bytes_max) return fail(fault::too_large, "A message of the helper is too large");
  result.bytes.resize(length);
  if (auto body = receive_all(socket, result.bytes.data(), length); !body) return tl::unexpected{body.error()};
  return result;
}

} // namespace troupe
