#include "gateway/http_connection.hpp"

#include "gateway/http_handshake.hpp"
#include "gateway/stream_relay.hpp"
#include "gateway/websocket_connection.hpp"
#include "runtime/log.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace troupe {
namespace {

constexpr size_t pending_max = 64 << 10; // of pipelined requests while one is answered
constexpr std::chrono::seconds linger_time{2};
constexpr std::chrono::seconds gone_check{1};

} // namespace

http_connection::http_connection(std::unique_ptr<http_stream> stream)
    : context_{stream->context()}, stream_{std::move(stream)} {}

http_connection::~http_connection() = default;

void http_connection::start(std::unique_ptr<http_stream> stream) {
  auto made = std::make_shared<http_connection>(std::move(stream));
  made->context_.add(made);
  made->stream_->attach(made.get());
  made->stream_->set_deadline(made->context_.limits.idle_timeout);
  made->stream_->read(true);
}

bool http_connection::reading_request() const noexcept {
  return !exchange_ || exchange_->at == phase::head || exchange_->at == phase::body;
}

/// After a refusal nothing that still arrives means anything.
bool http_connection::discards() const noexcept { return lingering_ || (exchange_ && body_left_); }

bool http_connection::waits_for(uint64_t serial) const noexcept {
  return exchange_ && exchange_->serial == serial && exchange_->at == phase::handling;
}

void http_connection::on_bytes(std::string_view bytes) {
  auto self = shared_from_this();
  if (discards()) return;
  if (pending_.empty() && reading_request()) {
    auto used = consume(bytes);
    if (stream_ && !discards()) pending_.assign(bytes.substr(used));
  } else {
    pending_ += bytes;
    if (reading_request()) consume_pending();
  }
  if (stream_ && !reading_request() && pending_.size() >= pending_max) stream_->read(false);
}

void http_connection::consume_pending() {
  auto used = consume(pending_);
  if (!stream_) return;
  pending_.erase(0, used);
  if (pending_.empty()) pending_ = {};
}

/// Handlers that answer at once are served in this loop, without recursion.
size_t http_connection::consume(std::string_view bytes) {
  size_t used = 0;
  consuming_ = true;
  while (stream_ && !discards() && reading_request() && used < bytes.size()) {
    if (!exchange_) { // empty lines before a request are tolerated (RFC 9112, 2.2)
      if (bytes[used] == '\r' || bytes[used] == '\n') {
        ++used;
        continue;
      }
      exchange_ = std::make_unique<exchange>(++serial_, context_.limits.header_bytes);
    }
    auto step = feed(bytes.substr(used));
    used += step;
    if (step == 0) break;
  }
  consuming_ = false;
  if (stream_ && exchange_ && exchange_->at == phase::head && !std::exchange(exchange_->timed, true)) {
    stream_->set_deadline(context_.limits.header_timeout); // from its first byte on
  }
  return used;
}

size_t http_connection::feed(std::string_view bytes) {
  auto made = exchange_->parser.feed(bytes, *this);
  if (made.reached == http_parser::step::failed) {
    refuse(exchange_->parser.status(), exchange_->parser.reason());
    return bytes.size();
  }
  if (made.reached == http_parser::step::more) {
    if (exchange_->at == phase::body) body_moved();
    return made.used;
  }
  if (exchange_->at == phase::head) head_done();
  if (made.reached == http_parser::step::head) apply_rule(made.used < bytes.size());
  if (made.reached == http_parser::step::complete && stream_ && exchange_ && !body_left_) request_done();
  return made.used;
}

void http_connection::head_done() {
  auto& x = *exchange_;
  x.request.peer = stream_->peer();
  x.frame.head_only = x.request.method == "HEAD";
  x.frame.is_change = !x.frame.head_only && x.request.method != "GET";
  x.frame.keep_alive = x.parser.keep_alive();
  x.frame.version_1_0 = x.parser.version_1_0();
  if (x.request.method == "GET") x.accept_key = websocket_accept_key(x.request);
  x.request.wants_websocket = !x.accept_key.empty();
}

void http_connection::apply_rule(bool more_follows) {
  auto& x = *exchange_;
  x.at = phase::body;
  x.rule = context_.rule(x.request);
  if (x.rule.forbidden) return refuse(403, "not authorized");
  if (x.parser.content_length().value_or(0) > x.rule.limit) return refuse(413, "The request body is too large");
  if (x.rule.spool) {
    auto moved = [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->spool_moved();
    };
    x.spool = std::make_shared<http_spool>(stream_->context().shared_from_this(), moved);
  }
  stream_->set_deadline(context_.limits.body_timeout);
  if (!x.parser.expects_continue() || more_follows || x.frame.version_1_0) return;
  std::array<std::string_view, 1> go_on{"HTTP/1.1 100 Continue\r\n\r\n"};
  if (stream_->write(go_on) == http_stream::sent::failed) close();
}

void http_connection::on_body(std::string_view bytes) {
  auto& x = *exchange_;
  x.body_bytes += bytes.size();
  if (x.body_bytes > x.rule.limit) return; // body_moved refuses it
  if (x.spool)
    x.spool->append(bytes);
  else
    x.request.body += bytes;
}

void http_connection::body_moved() {
  auto& x = *exchange_;
  if (x.body_bytes > x.rule.limit) return refuse(413, "The request body is too large");
  stream_->set_deadline(context_.limits.body_timeout);
  if (x.spool && x.spool->full()) stream_->read(false);
}

void http_connection::spool_moved() {
  if (!stream_ || !exchange_ || !exchange_->spool) return;
  auto& x = *exchange_;
  if (int e = x.spool->failure()) {
    if (x.at != phase::body && x.at != phase::spooling) return;
    return refuse(e == ENOSPC || e == EDQUOT ? 507 : 500, std::string{"Cannot store the request body: "} + strerror(e));
  }
  if (x.at == phase::body && !x.spool->full()) stream_->read(true);
  if (x.at != phase::spooling || !x.spool->finished()) return;
  x.request.spool_size = x.spool->size();
  x.request.spool = x.spool->take();
  dispatch();
}

void http_connection::request_done() {
  auto& x = *exchange_;
  if (x.body_bytes > x.rule.limit && x.at == phase::body) return refuse(413, "The request body is too large");
  if (!x.spool) return dispatch();
  x.at = phase::spooling;
  stream_->clear_deadline();
  x.spool->finish();
  spool_moved();
}

void http_connection::dispatch() {
  auto& x = *exchange_;
  x.at = phase::handling;
  x.spool.reset();
  stream_->read(true); // to see the peer go away
  if (half_closed_)
    stream_->set_deadline(gone_check);
  else
    stream_->clear_deadline();
  auto state = std::make_shared<responder::state>();
  state->door = context_.door;
  state->connection = weak_from_this();
  state->serial = x.serial;
  x.waiting = state;
  auto request = std::move(x.request);
  try {
    context_.handle(std::move(request), responder{std::move(state)});
  } catch (const std::exception& e) { // through libuv's C frames it would end the daemon; the dropped responder answers
    log().error("A request handler threw: {}", e.what());
  }
}

void http_connection::answer(uint64_t serial, http_response response) {
  if (waits_for(serial)) reply(std::move(response));
}

void http_connection::reply(http_response response) {
  auto& x = *exchange_;
  x.at = phase::replying;
  if (auto waiting = x.waiting.lock()) waiting->on_gone = nullptr; // it may hold its own responder
  x.sender = std::make_shared<http_sender>(*stream_, [this](bool ok) { replied(ok); });
  auto sender = x.sender;
  sender->start(std::move(response), x.frame); // x may be gone after this
  if (stream_ && exchange_ && exchange_->sender == sender) {
    stream_->set_deadline(context_.limits.write_timeout);
  }
}

/// A reply of our own to a request that is not read to its end; the connection cannot go on after it.
void http_connection::refuse(int status, std::string_view sentence) {
  auto& x = *exchange_;
  body_left_ = true;
  pending_ = {};
  x.frame.keep_alive = false;
  if (x.spool) x.spool->abandon();
  x.spool.reset();
  stream_->read(true);
  reply(error_reply(status, sentence));
}

void http_connection::replied(bool ok) {
  auto self = shared_from_this();
  bool keep = ok && exchange_->frame.keep_alive;
  auto done = std::move(exchange_);
  rested_at_ = context_.now_ms();
  if (!ok) return close();
  if (body_left_) return linger();
  if (!keep) return close();
  stream_->set_deadline(context_.limits.idle_timeout);
  stream_->read(true);
  if (consuming_) return;
  if (!pending_.empty()) consume_pending();
  if (stream_ && half_closed_ && reading_request()) close(); // no complete request is left
}

/// Closing with unread bytes would reset the connection before the peer has read our reply: let it finish, briefly.
void http_connection::linger() {
  if (half_closed_) return close();
  lingering_ = true;
  stream_->finish_writing();
  stream_->set_deadline(linger_time);
  stream_->read(true);
}

void http_connection::on_end() {
  auto self = shared_from_this();
  half_closed_ = true;
  if (lingering_ || reading_request()) return close();
  if (stream_->peer_gone()) return close();
  if (exchange_->at == phase::handling) stream_->set_deadline(gone_check); // no event tells of the rest
}

void http_connection::on_written(bool ok) {
  auto self = shared_from_this();
  if (exchange_ && exchange_->sender) {
    auto sender = exchange_->sender;
    sender->on_written(ok);
  } else if (!ok) {
    close();
  }
}

void http_connection::on_deadline() {
  auto self = shared_from_this();
  if (!exchange_ || lingering_) return close();
  switch (exchange_->at) {
    case phase::head:
      return refuse(408, "The request's header took too long");
    case phase::body:
      if (!exchange_->spool || !exchange_->spool->busy()) return refuse(408, "The request's body took too long");
      return stream_->set_deadline(context_.limits.body_timeout); // our disk is the slow one
    case phase::spooling:
      return;
    case phase::handling:
      if (stream_->peer_gone()) return close();
      return stream_->set_deadline(gone_check);
    case phase::replying:
      return check_reply_progress();
  }
}

void http_connection::check_reply_progress() {
  auto& x = *exchange_;
  auto progress = x.sender->handed_over() - stream_->unwritten();
  bool stuck = stream_->writing() && progress == x.seen_progress; // else a file or pipe of ours is the slow one
  if (stuck) return close();
  x.seen_progress = progress;
  stream_->set_deadline(context_.limits.write_timeout);
}

void http_connection::upgrade(uint64_t serial, std::function<void(std::shared_ptr<websocket>)> ready) {
  if (!waits_for(serial)) return;
  auto& x = *exchange_;
  if (x.accept_key.empty()) return reply(error_reply(400, "This address answers websocket requests only"));
  auto self = shared_from_this();
  auto key = std::move(x.accept_key);
  auto early = std::move(pending_);
  websocket_connection::start(let_go(), key, early, ready);
}

void http_connection::hand_over(uint64_t serial, const std::string& protocol, unique_fd ours) {
  if (!waits_for(serial)) return;
  auto self = shared_from_this();
  auto early = std::move(pending_);
  stream_relay::start(let_go(), std::move(ours), nullptr,
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + protocol + "\r\nConnection: Upgrade\r\n\r\n",
                      early);
}

/// The stream, for somebody else; this connection is over.
std::unique_ptr<http_stream> http_connection::let_go() {
  if (auto waiting = exchange_->waiting.lock()) waiting->on_gone = nullptr;
  auto stream = std::move(stream_);
  exchange_.reset();
  stream->attach(nullptr);
  context_.remove(*this);
  return stream;
}

void http_connection::tell_gone() {
  if (!exchange_ || exchange_->at != phase::handling) return;
  if (auto waiting = exchange_->waiting.lock()) waiting->went_away();
}

void http_connection::close() {
  auto self = shared_from_this();
  if (!stream_) return;
  tell_gone();
  if (exchange_ && exchange_->sender) exchange_->sender->abandon();
  if (exchange_ && exchange_->spool) exchange_->spool->abandon();
  exchange_.reset();
  pending_ = {};
  stream_.reset();
  context_.remove(*this);
}

void http_connection::abort() { close(); }

/// Who has just removed himself still gets his answer; what may last is cut.
void http_connection::unwelcome() {
  bool short_change =
      exchange_ && exchange_->frame.is_change && (exchange_->at == phase::handling || exchange_->at == phase::replying);
  if (!short_change) return close();
  exchange_->frame.keep_alive = false;
}

} // namespace troupe
