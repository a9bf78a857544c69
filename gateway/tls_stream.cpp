#include "gateway/tls_stream.hpp"

#include "gateway/http_context.hpp"

#include <algorithm>
#include <utility>

namespace troupe {
namespace {

constexpr size_t record_bytes = 16 << 10; // of one TLS record
constexpr size_t batch_bytes = 64 << 10;  // encrypted before the socket is asked whether it takes more

} // namespace

tls_stream::tls_stream(std::unique_ptr<socket_stream> raw, tls_session session, http_peer peer)
    : http_stream{raw->context().shared_from_this()}, raw_{std::move(raw)}, session_{std::move(session)} {
  peer_ = std::move(peer);
  raw_->attach(this);
  context_->tls_streams.insert(this);
}

tls_stream::~tls_stream() {
  context_->tls_streams.erase(this);
  raw_->attach(nullptr);
  if (raw_->writing() || finishing_) return;
  session_.say_end();
  std::string farewell;
  session_.take_wire(farewell);
  std::array<std::string_view, 1> pieces{farewell};
  if (!farewell.empty()) raw_->write(pieces); // as far as it goes
}

void tls_stream::cut() {
  if (user_) user_->unwelcome();
}

void tls_stream::abort() {
  if (user_) user_->abort();
}

// ---- reading

/// What is there already is delivered from the loop, not from within the caller.
void tls_stream::read(bool on) {
  if (on == reading_ || ended_) return;
  reading_ = on;
  raw_->read(on);
  if (!on || !left_over_ || std::exchange(deliver_posted_, true)) return;
  context_->door->post([this, alive = std::weak_ptr{alive_}] {
    if (alive.expired()) return;
    deliver_posted_ = false;
    deliver();
  });
}

void tls_stream::on_bytes(std::string_view wire) {
  session_.receive(wire);
  deliver();
}

void tls_stream::deliver() {
  auto& plain = context_->plain;
  if (plain.empty()) plain.resize(record_bytes);
  std::weak_ptr<bool> alive{alive_};
  left_over_ = true;
  while (reading_) {
    auto got = session_.read(plain.data(), plain.size());
    if (got == -1) {
      left_over_ = false;
      break;
    }
    if (got <= 0) return end();
    if (user_) user_->on_bytes({plain.data(), static_cast<size_t>(got)});
    if (alive.expired()) return;
  }
  flush(); // an alert, or the answer to a new key
}

void tls_stream::end() {
  if (std::exchange(ended_, true)) return;
  raw_->read(false);
  reading_ = false;
  if (user_) user_->on_end();
}

void tls_stream::on_end() { end(); }

void tls_stream::on_deadline() {
  if (user_) user_->on_deadline();
}

// ---- writing

http_stream::sent tls_stream::write(std::span<const std::string_view> pieces) {
  pieces_.assign(pieces.begin(), pieces.end());
  piece_ = offset_ = 0;
  auto result = push();
  writing_ = result == sent::later;
  if (!writing_) pieces_.clear();
  return result;
}

/// Small pieces share a record.
bool tls_stream::encrypt_some() {
  std::string gathered;
  for (size_t taken = 0; piece_ < pieces_.size() && taken < batch_bytes;) {
    auto rest = pieces_[piece_].substr(offset_);
    auto now = rest.substr(0, record_bytes - gathered.size());
    bool alone = gathered.empty() && now.size() == record_bytes;
    if (alone && !session_.write(now)) return false;
    if (!alone) gathered += now;
    taken += now.size();
    offset_ += now.size();
    if (offset_ == pieces_[piece_].size()) {
      ++piece_;
      offset_ = 0;
    }
    if (gathered.size() < record_bytes) continue;
    if (!session_.write(gathered)) return false;
    gathered.clear();
  }
  return session_.write(gathered);
}

http_stream::sent tls_stream::push() {
  for (;;) {
    if (raw_->writing()) return sent::later;
    if (piece_ < pieces_.size() && !encrypt_some()) return sent::failed;
    wire_.clear();
    session_.take_wire(wire_);
    if (wire_.empty()) return sent::all;
    std::array<std::string_view, 1> out{wire_};
    auto result = raw_->write(out);
    if (result != sent::all) return result;
  }
}

/// Sends what the session has to say by itself. False: the connection is broken.
bool tls_stream::flush() {
  if (raw_->writing() || !session_.has_wire()) return true;
  wire_.clear();
  session_.take_wire(wire_);
  std::array<std::string_view, 1> out{wire_};
  return raw_->write(out) != sent::failed;
}

void tls_stream::on_written(bool ok) {
  auto result = ok ? push() : sent::failed;
  if (result == sent::later) return;
  wire_ = {};
  if (finishing_ && ok) raw_->finish_writing();
  if (!std::exchange(writing_, false)) return;
  pieces_.clear();
  if (user_) user_->on_written(result == sent::all);
}

size_t tls_stream::unwritten() const noexcept {
  size_t left = raw_->unwritten();
  for (auto i = piece_; i < pieces_.size(); ++i) left += pieces_[i].size();
  return left - std::min(left, offset_);
}

void tls_stream::finish_writing() {
  if (std::exchange(finishing_, true)) return;
  session_.say_end();
  flush();
  if (!raw_->writing()) raw_->finish_writing();
}

} // namespace troupe
