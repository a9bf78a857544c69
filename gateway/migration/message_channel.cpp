#include "gateway/migration/message_channel.hpp"

#include <poll.h>
#include <sys/eventfd.h>

namespace troupe {
namespace {

constexpr size_t inbox_full_bytes = 1 << 20;
constexpr size_t inbox_low_bytes = 256 << 10;
constexpr size_t outbox_full_bytes = 512 << 10; // above the low-water mark, so that draining is told
static_assert(outbox_full_bytes > websocket::low_water_bytes);

} // namespace

std::shared_ptr<message_channel> message_channel::over(std::shared_ptr<websocket> socket) {
  auto made = std::make_shared<message_channel>(std::move(socket));
  made->begin();
  return made;
}

message_channel::message_channel(std::shared_ptr<websocket> socket)
    : socket_{std::move(socket)}, changed_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {}

message_channel::~message_channel() { socket_->close(); }

void message_channel::begin() {
  std::weak_ptr<message_channel> weak = shared_from_this();
  socket_->be_patient();
  socket_->on_message([weak](std::string data, bool binary) {
    if (auto self = weak.lock()) self->came(std::move(data), binary);
  });
  socket_->on_drain([weak] {
    if (auto self = weak.lock()) self->tell();
  });
  socket_->on_close([weak] {
    auto self = weak.lock();
    if (!self) return;
    {
      std::lock_guard guard{self->lock_};
      self->closed_ = true;
    }
    self->tell();
  });
}

void message_channel::tell() const {
  uint64_t one = 1;
  static_cast<void>(::write(changed_.get(), &one, sizeof one)); // full: it is readable as it is
}

void message_channel::clear() const {
  uint64_t count = 0;
  static_cast<void>(::read(changed_.get(), &count, sizeof count));
}

void message_channel::came(std::string data, bool binary) {
  bool full = false;
  {
    std::lock_guard guard{lock_};
    if (data.empty() && binary) return;
    waiting_bytes_ += data.size();
    waiting_.push_back({std::move(data), binary});
    full = waiting_bytes_ > inbox_full_bytes && !std::exchange(paused_, true);
  }
  if (full) socket_->pause(true);
  tell();
}

message_channel::state message_channel::take(message& into) {
  bool go_on = false;
  {
    std::lock_guard guard{lock_};
    if (waiting_.empty()) return closed_ ? state::closed : state::nothing;
    into = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= into.data.size();
    go_on = waiting_bytes_ < inbox_low_bytes && std::exchange(paused_, false);
  }
  if (go_on) socket_->pause(false);
  return state::message;
}

outcome<message_channel::message> message_channel::receive(std::chrono::milliseconds within) {
  auto until = std::chrono::steady_clock::now() + within;
  for (;;) {
    clear();
    message got;
    auto now = take(got);
    if (now == state::message) return got;
    if (now == state::closed) return fail(fault::backend_failed, "The other server has closed the connection");
    auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return fail(fault::timed_out, "The other server does not answer");
    pollfd wait{changed_.get(), POLLIN, 0};
    ::poll(&wait, 1, static_cast<int>(left.count()));
  }
}

outcome<std::string> message_channel::receive_part(std::chrono::milliseconds within, size_t bytes_max) {
  std::string whole;
  for (;;) {
    auto next = receive(within);
    if (!next) return tl::unexpected{next.error()};
    if (next->ends_part()) return whole;
    if (whole.size() + next->data.size() > bytes_max)
      return fail(fault::too_large, "The other server says more than is reasonable");
    whole += next->data;
  }
}

bool message_channel::has_room() const { return socket_->queued_bytes() < outbox_full_bytes; }

bool message_channel::send(std::string data) const { return socket_->send_binary(std::move(data)); }

bool message_channel::end_part() const { return socket_->send_text(std::make_shared<const std::string>()); }

void message_channel::close() {
  {
    std::lock_guard guard{lock_};
    closed_ = true;
  }
  socket_->close();
  tell();
}

} // namespace troupe
