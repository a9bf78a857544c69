#include "cli/event_stream.hpp"

#include "cli/http_client.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

namespace troupe {
namespace {

constexpr uint64_t message_bytes_max = 64 << 20;

/// The client's side of one websocket: wslay frames over a connected socket.
struct stream {
  int socket;
  std::string early; // arrived together with the handshake
  std::function<bool(const std::string&)> take;
  bool wanted = true;

  ssize_t receive(wslay_event_context_ptr ctx, uint8_t* data, size_t size) {
    if (!early.empty()) {
      auto count = std::min(size, early.size());
      std::memcpy(data, early.data(), count);
      early.erase(0, count);
      return static_cast<ssize_t>(count);
    }
    ssize_t got = ::recv(socket, data, size, MSG_DONTWAIT);
    if (got > 0) return got;
    bool later = got < 0 && (errno == EAGAIN || errno == EINTR);
    wslay_event_set_error(ctx, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
  }

  ssize_t send(wslay_event_context_ptr ctx, const uint8_t* data, size_t size) const {
    ssize_t put = ::send(socket, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put >= 0) return put;
    wslay_event_set_error(ctx, errno == EAGAIN || errno == EINTR ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
  }
};

constexpr wslay_event_callbacks callbacks = {
    [](wslay_event_context_ptr ctx, uint8_t* data, size_t size, int, void* self) {
      return static_cast<stream*>(self)->receive(ctx, data, size);
    },
    [](wslay_event_context_ptr ctx, const uint8_t* data, size_t size, int, void* self) {
      return static_cast<stream*>(self)->send(ctx, data, size);
    },
    [](wslay_event_context_ptr, uint8_t* mask, size_t size, void*) {
      return getrandom(mask, size, 0) == static_cast<ssize_t>(size) ? 0 : -1;
    },
    nullptr,
    nullptr,
    nullptr,
    [](wslay_event_context_ptr, const wslay_event_on_msg_recv_arg* arg, void* self) {
      auto& into = *static_cast<stream*>(self);
      if (arg->opcode == WSLAY_TEXT_FRAME && into.wanted)
        into.wanted = into.take({reinterpret_cast<const char*>(arg->msg), arg->msg_length});
    },
};

} // namespace

outcome<void> read_messages(const http_client& http, const std::string& target, const std::function<bool()>& ready,
                            std::function<bool(const std::string&)> take) {
  auto opened = http.upgrade(target);
  if (!opened) return tl::unexpected{opened.error()};
  if (ready && !ready()) return {};
  stream into{opened->socket.get(), std::move(opened->first_bytes), std::move(take)};
  wslay_event_context_ptr raw = nullptr;
  if (wslay_event_context_client_init(&raw, &callbacks, &into) != 0)
    return fail(fault::internal, "Cannot set up a websocket");
  std::unique_ptr<wslay_event_context, decltype(&wslay_event_context_free)> ctx{raw, wslay_event_context_free};
  wslay_event_config_set_max_recv_msg_length(raw, message_bytes_max);
  while (into.wanted) {
    bool reads = wslay_event_want_read(raw), writes = wslay_event_want_write(raw);
    if (!reads && !writes) return fail(fault::backend_failed, "The server closed the event stream");
    if (into.early.empty()) {
      pollfd watched{into.socket, static_cast<short>((reads ? POLLIN : 0) | (writes ? POLLOUT : 0)), 0};
      if (::poll(&watched, 1, -1) < 0 && errno != EINTR) return fail_errno(errno, "Cannot wait for events");
    }
    if (wslay_event_recv(raw) != 0 || wslay_event_send(raw) != 0) {
      if (!into.wanted) break;
      return fail(fault::backend_failed, "The connection to the server was lost");
    }
  }
  return {};
}

} // namespace troupe
