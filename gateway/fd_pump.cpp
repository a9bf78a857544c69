#include "gateway/http_server.hpp"
#include "runtime/loop.hpp"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

namespace troupe {
namespace {

constexpr size_t read_bytes = 64 << 10;
constexpr size_t socket_full_bytes = 256 << 10; // above: the descriptor waits; must be above the low-water mark
constexpr size_t fd_full_bytes = 256 << 10;     // above: the websocket waits
constexpr size_t fd_low_bytes = 64 << 10;
constexpr size_t terminal_bytes_max = 128 << 10; // more than the kernel keeps of a terminal's output
constexpr int reads_per_turn = 4;                // then others get the loop
static_assert(socket_full_bytes > websocket::low_water_bytes);

class pump final : public fd_pump, public std::enable_shared_from_this<pump> {
public:
  pump(loop& on, unique_fd fd, std::shared_ptr<websocket> socket, direction ways, std::function<void(bool)> ended)
      : on_{on}, fd_{std::move(fd)}, socket_{std::move(socket)}, ended_{std::move(ended)},
        reading_{ways != direction::from_socket}, writing_{ways != direction::to_socket} {}

  void begin();
  void drain_and_stop() override;
  void stop() override;
  void watch_peer(std::chrono::milliseconds patience, std::function<void(bool)> tell) override;
  void go_on(std::string first) override;

private:
  void on_message(std::string data, bool binary);
  void on_close();
  void on_event(int status, int events);
  void watch();
  void read_some();
  void write_some();
  void begin_drain();
  void end_reading(bool tell_peer);
  void end_writing();
  void end_if_done();
  void is_full();
  void is_drained();
  void look_at_peer();

  loop& on_;
  unique_fd fd_;
  std::shared_ptr<websocket> socket_;
  std::function<void(bool)> ended_;
  uv_poll_t* poll_ = nullptr;
  int watched_ = 0;
  bool reading_;             // fd -> websocket goes on
  bool writing_;             // websocket -> fd goes on
  bool input_ended_ = false; // no more comes from the websocket
  bool socket_full_ = false;
  bool socket_paused_ = false;
  std::optional<size_t> left_; // to read, once draining
  std::deque<std::string> to_write_;
  size_t to_write_bytes_ = 0;
  size_t written_of_first_ = 0;
  std::chrono::milliseconds patience_{0}; // 0: for ever
  std::function<void(bool)> tell_;
  loop::handle_ptr timer_;
  size_t queued_before_ = 0;
  bool given_up_ = false; // the peer; somebody else has the descriptor's output
};

void pump::begin() {
  fcntl(fd_.get(), F_SETFL, fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
  poll_ = new uv_poll_t{};
  bool failed = uv_poll_init(on_.raw(), poll_, fd_.get()) != 0;
  if (failed)
    delete std::exchange(poll_, nullptr);
  else
    poll_->data = new std::shared_ptr<pump>{shared_from_this()};
  if (writing_)
    socket_->on_message(
        [self = shared_from_this()](std::string data, bool binary) { self->on_message(std::move(data), binary); });
  else
    socket_->on_message([](const std::string&, bool) {});
  if (reading_)
    socket_->on_drain([weak = weak_from_this()] {
      auto self = weak.lock();
      if (!self) return;
      self->is_drained();
    });
  socket_->on_close([self = shared_from_this()] { self->on_close(); });
  if (failed) {
    end_reading(true);
    end_writing();
    return;
  }
  watch();
}

void pump::stop() {
  ended_ = nullptr;
  tell_ = nullptr;
  reading_ = writing_ = false;
  end_if_done();
}

void pump::watch_peer(std::chrono::milliseconds patience, std::function<void(bool)> tell) {
  patience_ = patience;
  tell_ = std::move(tell);
}

void pump::is_full() {
  if (std::exchange(socket_full_, true) || patience_.count() == 0) return;
  queued_before_ = socket_->queued_bytes();
  timer_ = on_.after(patience_, [self = shared_from_this()] { self->look_at_peer(); });
}

/// Slow is not gone: as long as it takes something, the descriptor waits.
void pump::look_at_peer() {
  if (!reading_ || !socket_full_) return;
  auto queued = socket_->queued_bytes();
  if (std::exchange(queued_before_, queued) > queued) {
    timer_ = on_.after(patience_, [self = shared_from_this()] { self->look_at_peer(); });
    return;
  }
  timer_.reset();
  given_up_ = true;
  if (auto call = tell_) call(true);
}

void pump::is_drained() {
  socket_full_ = false;
  timer_.reset();
  if (given_up_) {
    if (auto call = tell_) call(false);
    return;
  }
  read_some();
  watch();
}

void pump::go_on(std::string first) {
  given_up_ = false;
  if (!reading_) return;
  if (!first.empty() && !socket_->send_binary(std::move(first))) return end_reading(false);
  if (socket_->queued_bytes() > socket_full_bytes) is_full();
  read_some();
  watch();
}

void pump::watch() {
  if (!poll_) return;
  int wanted =
      (reading_ && !socket_full_ && !given_up_ ? UV_READABLE : 0) | (writing_ && !to_write_.empty() ? UV_WRITABLE : 0);
  if (wanted == watched_) return;
  watched_ = wanted;
  if (!wanted) {
    uv_poll_stop(poll_);
    return;
  }
  uv_poll_start(poll_, wanted, [](uv_poll_t* handle, int status, int events) {
    auto self = *static_cast<std::shared_ptr<pump>*>(handle->data);
    self->on_event(status, events);
  });
}

void pump::on_event(int status, int events) {
  if (status != 0) { // an error on the descriptor: read and write say which, and libuv has stopped watching
    watched_ = 0;
    events = UV_READABLE | UV_WRITABLE;
  }
  if (events & UV_WRITABLE) write_some();
  if (events & UV_READABLE) read_some();
  watch();
}

void pump::read_some() {
  for (int turn = 0; reading_ && !socket_full_ && !given_up_ && (turn < reads_per_turn || left_); ++turn) {
    if (left_ && *left_ == 0) break;
    std::string data(std::min(read_bytes, left_.value_or(read_bytes)), '\0');
    auto got = ::read(fd_.get(), data.data(), data.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      if (left_) end_reading(true);
      return;
    }
    if (got <= 0) return end_reading(true); // a terminal without the other end says EIO
    data.resize(static_cast<size_t>(got));
    data.shrink_to_fit();
    if (left_) *left_ -= data.size();
    if (!socket_->send_binary(std::move(data))) return end_reading(false);
    if (socket_->queued_bytes() > socket_full_bytes) is_full();
  }
  if (left_ && *left_ == 0) end_reading(true);
}

void pump::drain_and_stop() {
  if (on_.on_thread()) return begin_drain();
  on_.post([self = shared_from_this()] { self->begin_drain(); });
}

/// What is there now is fixed: another writer must not keep us here.
void pump::begin_drain() {
  if (!reading_ || left_) return;
  if (given_up_) return end_reading(true); // what there was is with who has it now
  int there = 0;
  pollfd look{fd_.get(), POLLIN, 0};
  ::poll(&look, 1, 0); // makes the kernel move a terminal's output to where it can be read
  if (isatty(fd_.get()))
    left_ = terminal_bytes_max;
  else if (ioctl(fd_.get(), FIONREAD, &there) == 0)
    left_ = static_cast<size_t>(there);
  else
    left_ = 0;
  read_some();
  watch();
}

void pump::on_message(std::string data, bool binary) {
  if (!writing_ || input_ended_) return;
  if (data.empty()) {
    if (binary) return;
    input_ended_ = true;
    return write_some();
  }
  to_write_bytes_ += data.size();
  to_write_.push_back(std::move(data));
  if (to_write_.size() == 1) write_some();
  watch();
  if (writing_ && to_write_bytes_ > fd_full_bytes && !std::exchange(socket_paused_, true)) socket_->pause(true);
}

void pump::write_some() {
  while (writing_ && !to_write_.empty()) {
    auto& first = to_write_.front();
    auto put = ::write(fd_.get(), first.data() + written_of_first_, first.size() - written_of_first_);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) break;
    if (put < 0) return end_writing(); // nobody reads it any more
    written_of_first_ += static_cast<size_t>(put);
    to_write_bytes_ -= static_cast<size_t>(put);
    if (written_of_first_ < first.size()) continue;
    to_write_.pop_front();
    written_of_first_ = 0;
  }
  if (to_write_bytes_ < fd_low_bytes && std::exchange(socket_paused_, false)) socket_->pause(false);
  if (to_write_.empty() && input_ended_) end_writing();
}

void pump::on_close() {
  end_reading(false);
  input_ended_ = true;
  write_some();
  watch();
}

void pump::end_reading(bool tell_peer) {
  if (!std::exchange(reading_, false)) return;
  if (tell_peer) socket_->send_text(std::make_shared<const std::string>());
  if (auto call = ended_) call(true);
  end_if_done();
}

void pump::end_writing() {
  if (!std::exchange(writing_, false)) return;
  to_write_.clear();
  to_write_bytes_ = 0;
  if (std::exchange(socket_paused_, false)) socket_->pause(false);
  if (reading_) ::shutdown(fd_.get(), SHUT_WR); // a socket's peer sees the end; a terminal or pipe does not mind
  if (auto call = ended_) call(false);
  end_if_done();
}

void pump::end_if_done() {
  if (reading_ || writing_ || !fd_) return;
  if (poll_)
    uv_close(reinterpret_cast<uv_handle_t*>(poll_), [](uv_handle_t* handle) {
      delete static_cast<std::shared_ptr<pump>*>(handle->data);
      delete reinterpret_cast<uv_poll_t*>(handle);
    });
  poll_ = nullptr;
  timer_.reset();
  tell_ = nullptr;
  fd_.reset();
  ended_ = nullptr;
}

} // namespace

std::shared_ptr<fd_pump> fd_pump::start(loop& on, unique_fd fd, std::shared_ptr<websocket> socket, direction ways,
                                        std::function<void(bool from_fd)> ended) {
  auto made = std::make_shared<pump>(on, std::move(fd), std::move(socket), ways, std::move(ended));
  if (on.on_thread())
    made->begin();
  else
    on.post([made] { made->begin(); });
  return made;
}

} // namespace troupe
