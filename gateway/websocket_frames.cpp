#include "gateway/websocket_frames.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <openssl/rand.h>
#include <utility>
#include <wslay/wslay.h>

namespace troupe {
namespace {

struct head_writer {
  wslay_frame_context_ptr context = nullptr;
  std::string head;
  const uint8_t* payload = nullptr;

  head_writer() {
    wslay_frame_callbacks calls{};
    calls.send_callback = [](const uint8_t* from, size_t size, int, void* data) {
      auto& self = *static_cast<head_writer*>(data);
      if (from != self.payload)
        self.head.append(reinterpret_cast<const char*>(from), size); // the payload is not copied
      return static_cast<ssize_t>(size);
    };
    if (wslay_frame_context_init(&context, &calls, this) != 0) throw std::bad_alloc{};
  }
  head_writer(const head_writer&) = delete;
  head_writer& operator=(const head_writer&) = delete;
  ~head_writer() { wslay_frame_context_free(context); }
};

} // namespace

struct websocket_frames::machine {
  machine(user& u, size_t max) : by{u}, message_bytes_max{max} {}

  user& by;
  size_t message_bytes_max;
  wslay_event_context_ptr context = nullptr;
  std::string_view input;
  std::string message;
  std::string control;
  bool broken = false;

  static machine& of(void* data) { return *static_cast<machine*>(data); }

  static ssize_t take(wslay_event_context_ptr context, uint8_t* into, size_t size, int, void* data) {
    auto& input = of(data).input;
    if (input.empty()) {
      wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
      return -1;
    }
    auto count = std::min(size, input.size());
    memcpy(into, input.data(), count);
    input.remove_prefix(count);
    return static_cast<ssize_t>(count);
  }

  static ssize_t give(wslay_event_context_ptr, const uint8_t* from, size_t size, int, void* data) {
    of(data).control.append(reinterpret_cast<const char*>(from), size);
    return static_cast<ssize_t>(size);
  }

  static int make_mask(wslay_event_context_ptr, uint8_t* into, size_t size, void*) {
    return RAND_bytes(into, static_cast<int>(size)) == 1 ? 0 : -1;
  }

  uint8_t opcode = 0; // of the frame under way

  static void frame_starts(wslay_event_context_ptr, const wslay_event_on_frame_recv_start_arg* frame, void* data) {
    of(data).opcode = frame->opcode;
  }

  /// wslay would join the fragments in memory of its own and bound only each of them; we join, and bound the whole.
  static void frame_goes_on(wslay_event_context_ptr context, const wslay_event_on_frame_recv_chunk_arg* part,
                            void* data) {
    auto& self = of(data);
    if (wslay_is_ctrl_frame(self.opcode) || self.broken) return;
    if (self.message.size() + part->data_length > self.message_bytes_max) {
      self.broken = true;
      self.message = {};
      wslay_event_shutdown_read(context);
      wslay_event_queue_close(context, WSLAY_CODE_MESSAGE_TOO_BIG, nullptr, 0);
      return;
    }
    self.message.append(reinterpret_cast<const char*>(part->data), part->data_length);
  }

  static void message_ends(wslay_event_context_ptr, const wslay_event_on_msg_recv_arg* arg, void* data) {
    auto& self = of(data);
    if (self.broken) return;
    if (arg->opcode == WSLAY_PONG) return self.by.on_pong();
    if (wslay_is_ctrl_frame(arg->opcode)) return; // wslay answers pings and closes
    self.by.on_message(std::exchange(self.message, {}), arg->opcode == WSLAY_BINARY_FRAME);
  }

  void flush() {
    if (wslay_event_want_write(context)) wslay_event_send(context);
    if (!control.empty()) by.on_control(std::exchange(control, {}));
  }
};

websocket_frames::websocket_frames(user& by, size_t message_bytes_max, side at)
    : machine_{std::make_unique<machine>(by, message_bytes_max)} {
  wslay_event_callbacks calls{};
  calls.recv_callback = machine::take;
  calls.send_callback = machine::give;
  calls.on_frame_recv_start_callback = machine::frame_starts;
  calls.on_frame_recv_chunk_callback = machine::frame_goes_on;
  calls.on_msg_recv_callback = machine::message_ends;
  calls.genmask_callback = machine::make_mask;
  auto init = at == side::server ? wslay_event_context_server_init : wslay_event_context_client_init;
  if (init(&machine_->context, &calls, machine_.get()) != 0) throw std::bad_alloc{};
  wslay_event_config_set_no_buffering(machine_->context, 1);
  wslay_event_config_set_max_recv_msg_length(machine_->context, message_bytes_max);
}

websocket_frames::~websocket_frames() { wslay_event_context_free(machine_->context); }

websocket_frames::state websocket_frames::feed(std::string_view bytes) {
  auto& m = *machine_;
  m.input = bytes;
  bool failed = wslay_event_recv(m.context) != 0;
  m.input = {};
  m.flush();
  if (failed || m.broken || !wslay_event_get_read_enabled(m.context)) return state::ended;
  return wslay_event_get_close_sent(m.context) ? state::closing : state::open;
}

void websocket_frames::ping(std::string_view payload) {
  wslay_event_msg frame{WSLAY_PING, reinterpret_cast<const uint8_t*>(payload.data()), payload.size()};
  wslay_event_queue_msg(machine_->context, &frame);
  machine_->flush();
}

void websocket_frames::close(uint16_t code) {
  if (wslay_event_queue_close(machine_->context, code, nullptr, 0) == WSLAY_ERR_INVALID_ARGUMENT)
    wslay_event_queue_close(machine_->context, WSLAY_CODE_NORMAL_CLOSURE, nullptr, 0);
  machine_->flush();
}

std::string websocket_frames::data_head(bool binary, size_t payload_size) {
  thread_local head_writer writer; // it holds nothing between two frames
  static const uint8_t nothing = 0;
  wslay_frame_iocb frame{};
  frame.fin = 1;
  frame.opcode = binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME;
  frame.payload_length = payload_size;
  frame.data = writer.payload = &nothing; // never read: only its length is told
  frame.data_length = payload_size;
  writer.head.clear();
  wslay_frame_send(writer.context, &frame);
  return std::exchange(writer.head, {});
}

std::string websocket_frames::masked_head(bool binary, std::string& payload) {
  constexpr size_t key_bytes = 4;
  auto head = data_head(binary, payload.size());
  head[1] = static_cast<char>(head[1] | 0x80); // "masked": the key follows the length (RFC 6455, 5.2)
  std::array<unsigned char, key_bytes> key{};
  RAND_bytes(key.data(), key_bytes);
  head.append(reinterpret_cast<const char*>(key.data()), key_bytes);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(payload[i] ^ key[i % key_bytes]);
  return head;
}

} // namespace troupe
