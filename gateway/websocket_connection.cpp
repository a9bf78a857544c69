#include "gateway/websocket_connection.hpp"

#include "gateway/http_handshake.hpp"

#include <array>
#include <iterator>
#include <utility>

namespace troupe {
namespace {

constexpr size_t frame_cost = 64; // what a frame takes besides its payload
constexpr size_t inbox_max = 64 << 10;
constexpr int unanswered_max = 2;
constexpr std::chrono::seconds close_answer_time{5};

} // namespace

std::string_view websocket_connection::frame::data() const noexcept {
  if (auto* text = std::get_if<std::string>(&payload)) return *text;
  auto& shared = std::get<1>(payload);
  return shared ? std::string_view{*shared} : std::string_view{};
}

websocket_connection::websocket_connection(std::unique_ptr<http_stream> stream, websocket_frames::side at)
    : door_{stream->context().door}, queue_max_{stream->context().limits.websocket_queue_bytes}, side_{at},
      stream_{std::move(stream)}, frames_{new websocket_frames{*this, stream_->context().limits.websocket_message_bytes,
                                                               at}} {}

void websocket_connection::start(std::unique_ptr<http_stream> stream, const std::string& accept_key,
                                 const std::string& early, const ready_call& ready) {
  auto made = std::make_shared<websocket_connection>(std::move(stream), websocket_frames::side::server);
  made->on_control(websocket_accept_head(accept_key));
  made->begin(early, ready);
}

void websocket_connection::join(std::unique_ptr<http_stream> stream, const std::string& early,
                                const ready_call& ready) {
  std::make_shared<websocket_connection>(std::move(stream), websocket_frames::side::client)->begin(early, ready);
}

void websocket_connection::begin(const std::string& early, const ready_call& ready) {
  auto self = shared_from_this();
  stream_->context().add(self);
  stream_->attach(this);
  stream_->set_deadline(stream_->context().limits.ping_period);
  ready(self);
  write_some();
  if (stream_ && !early.empty()) on_bytes(early);
  update_reading();
}

/// Runs at once on the loop's thread; elsewhere it is posted. After the server's end it is dropped.
void websocket_connection::on_loop(std::function<void()> work) {
  if (door_->on_thread())
    work();
  else
    door_->post(std::move(work));
}

bool websocket_connection::send_text(std::shared_ptr<const std::string> text) {
  return push({{}, std::move(text), false, false});
}

bool websocket_connection::send_binary(std::string data) { return push({{}, std::move(data), true, false}); }

bool websocket_connection::push(frame one) {
  std::unique_lock guard{lock_};
  if (closed_) return false;
  auto size = one.data().size() + frame_cost;
  if (queued_ + size > queue_max_) {
    closed_ = true;
    guard.unlock();
    door_->post([self = shared_from_this()] { self->finish(); });
    return false;
  }
  queued_ += size;
  if (queued_ >= low_water_bytes) above_low_ = true;
  posted_.push_back(std::move(one));
  if (std::exchange(posting_, true)) return true;
  guard.unlock();
  // Posted on the loop's thread too: what is sent in one turn of the loop leaves in one write.
  door_->post([self = shared_from_this()] {
    self->take_posted();
    self->write_some();
  });
  return true;
}

void websocket_connection::take_posted() {
  std::vector<frame> batch;
  {
    std::lock_guard guard{lock_};
    batch.swap(posted_);
    posting_ = false;
  }
  if (!stream_ || ending_ || close_sent_) return;
  for (auto& one : batch) {
    if (side_ == websocket_frames::side::server) {
      one.head = websocket_frames::data_head(one.binary, one.data().size());
    } else { // what is shared stays as it is
      if (auto* shared = std::get_if<1>(&one.payload)) one.payload = *shared ? std::string{**shared} : std::string{};
      one.head = websocket_frames::masked_head(one.binary, std::get<std::string>(one.payload));
    }
    queue_.push_back(std::move(one));
  }
}

void websocket_connection::write_some() {
  auto self = shared_from_this();
  while (stream_ && !stream_->writing() && !queue_.empty()) {
    std::array<std::string_view, http_stream::pieces_max> pieces;
    size_t count = 0, frames = 0;
    for (; frames < queue_.size() && count + 2 <= pieces.size(); ++frames) {
      pieces[count++] = queue_[frames].head;
      if (auto data = queue_[frames].data(); !data.empty()) pieces[count++] = data;
    }
    switch (stream_->write(std::span{pieces}.first(count))) {
      case http_stream::sent::all:
        written(frames);
        break;
      case http_stream::sent::later:
        in_flight_ = frames;
        return;
      case http_stream::sent::failed:
        return finish();
    }
  }
  if (stream_ && queue_.empty() && ending_) finish();
}

void websocket_connection::on_written(bool ok) {
  auto self = shared_from_this();
  if (!ok) return finish();
  written(std::exchange(in_flight_, 0));
  write_some();
}

void websocket_connection::written(size_t frames) {
  bool drained = false;
  {
    std::lock_guard guard{lock_};
    for (size_t i = 0; i < frames; ++i) queued_ -= queue_[i].data().size() + frame_cost;
    if (queued_ < low_water_bytes) drained = std::exchange(above_low_, false);
  }
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(frames));
  if (queue_.empty()) queue_ = {};
  if (auto call = drained ? drain_call_ : nullptr) call();
}

void websocket_connection::close(uint16_t code) {
  {
    std::lock_guard guard{lock_};
    if (closed_) return;
    closed_ = true;
  }
  door_->post([self = shared_from_this(), code] {
    self->take_posted();
    if (!self->stream_ || self->ending_) return;
    self->frames_->close(code);
    self->close_sent_ = true;
    self->unanswered_ = 0;
    self->stream_->set_deadline(close_answer_time);
    self->write_some();
    self->update_reading();
  });
}

void websocket_connection::on_control(std::string bytes) {
  {
    std::lock_guard guard{lock_};
    queued_ += frame_cost;
  }
  queue_.push_back({std::move(bytes), std::string{}, false, true});
}

void websocket_connection::on_bytes(std::string_view bytes) {
  auto self = shared_from_this();
  unanswered_ = 0;
  auto now = frames_->feed(bytes);
  if (!stream_) return;
  if (queued_ > queue_max_) return finish(); // a peer that pings and never reads
  if (now == websocket_frames::state::ended && !ending_) {
    drop_unsent_data();
    ending_ = true;
    stream_->set_deadline(close_answer_time);
  }
  write_some();
  update_reading();
}

/// The peer takes no more data: only what is half written, and control frames (our close), still go.
void websocket_connection::drop_unsent_data() {
  std::vector<frame> kept;
  for (; queue_.size() > in_flight_; queue_.pop_back())
    if (queue_.back().control) kept.push_back(std::move(queue_.back()));
  queue_.insert(queue_.end(), std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
}

void websocket_connection::on_message(std::string data, bool binary) {
  if (close_sent_) return;
  if (message_call_) return message_call_(std::move(data), binary);
  inbox_bytes_ += data.size() + frame_cost;
  inbox_.emplace_back(std::move(data), binary);
}

void websocket_connection::deliver_inbox() {
  while (message_call_ && !inbox_.empty()) {
    auto [data, binary] = std::move(inbox_.front());
    inbox_.pop_front();
    message_call_(std::move(data), binary);
  }
  if (!inbox_.empty()) return;
  inbox_bytes_ = 0;
  update_reading();
}

void websocket_connection::update_reading() {
  if (stream_) stream_->read(close_sent_ || (!paused_ && !ending_ && inbox_bytes_ < inbox_max));
}

void websocket_connection::on_message(std::function<void(std::string, bool)> call) {
  on_loop([self = shared_from_this(), call = std::move(call)] {
    self->message_call_ = call;
    self->deliver_inbox();
    if (!self->stream_) self->message_call_ = nullptr;
  });
}

void websocket_connection::on_close(std::function<void()> call) {
  on_loop([self = shared_from_this(), call = std::move(call)] {
    if (self->stream_)
      self->close_calls_.push_back(call);
    else
      call();
  });
}

void websocket_connection::on_drain(std::function<void()> call) {
  on_loop([self = shared_from_this(), call = std::move(call)] {
    if (self->stream_) self->drain_call_ = call;
  });
}

void websocket_connection::pause(bool reading_paused) {
  on_loop([self = shared_from_this(), reading_paused] {
    self->paused_ = reading_paused;
    self->update_reading();
  });
}

/// Pings count as unanswered only if the peer has read them: one that reads slowly is alive, and its queue is bounded.
void websocket_connection::on_deadline() {
  auto self = shared_from_this();
  auto& limits = stream_->context().limits;
  if (ending_ || (close_sent_ && queue_.empty())) return finish();
  if (close_sent_) return check_last_bytes();
  stream_->set_deadline(limits.ping_period);
  if (!queue_.empty() || !stream_->peer_read_all()) return;
  if (unanswered_ > unanswered_max && !patient_) return finish();
  if (!paused_ && inbox_bytes_ < inbox_max) ++unanswered_;
  frames_->ping("keepalive");
  write_some();
}

/// We close, and the peer is slow in taking the last of its data: it gets them as long as they move.
void websocket_connection::check_last_bytes() {
  auto left = queued_ + stream_->unwritten();
  if (left != last_bytes_left_)
    stalled_ = {};
  else if ((stalled_ += close_answer_time) > stream_->context().limits.idle_timeout)
    return finish();
  last_bytes_left_ = left;
  stream_->set_deadline(close_answer_time);
}

void websocket_connection::finish() {
  if (!stream_) return;
  auto self = shared_from_this();
  auto& context = stream_->context();
  {
    std::lock_guard guard{lock_};
    closed_ = true;
    posted_.clear();
    queued_ = 0;
  }
  queue_.clear();
  auto closed = std::exchange(close_calls_, {});
  auto drained = std::exchange(drain_call_, nullptr);
  auto message = inbox_.empty() ? std::exchange(message_call_, nullptr) : nullptr;
  stream_.reset();
  context.remove(*this);
  for (auto& call : closed) call();
}

} // namespace troupe
