#include "gateway/http_context.hpp"

#include "gateway/host_places.hpp"
#include "gateway/http_connection.hpp"
#include "gateway/socket_stream.hpp"
#include "gateway/tls_stream.hpp"
#include "runtime/loop.hpp"

#include <uv.h>

namespace troupe {

bool http_door::post(std::function<void()> work) {
  std::lock_guard guard{lock_};
  if (!on_) return false;
  on_->post(std::move(work));
  return true;
}

bool http_door::on_thread() const {
  std::lock_guard guard{lock_};
  return on_ && on_->on_thread();
}

void http_door::shut() {
  std::lock_guard guard{lock_};
  on_ = nullptr;
}

http_context::http_context(loop& l, http_limits limits_, std::string dir, http_server::rule body,
                           http_server::handler handler)
    : on{l}, uv{l.raw()}, limits{limits_}, spool_dir{std::move(dir)}, rule{std::move(body)}, handle{std::move(handler)},
      serve{http_connection::start}, door{std::make_shared<http_door>(l)} {}

http_context::http_context(loop& l, http_limits limits_, http_server::streams serve_)
    : on{l}, uv{l.raw()}, limits{limits_}, serve{std::move(serve_)}, door{std::make_shared<http_door>(l)} {}

http_context::~http_context() = default;

uint64_t http_context::now_ms() const noexcept { return uv_now(uv); }

void http_context::set_deadline(http_deadlines::entry& of, std::chrono::milliseconds in) noexcept {
  auto now = now_ms();
  deadlines_.set(of, now + static_cast<uint64_t>(in.count()), now);
}

void http_context::add(std::shared_ptr<http_stream::user> one) {
  auto* key = one.get();
  users_.emplace(key, std::move(one));
  if (!clock_runs_) run_clock(true);
}

void http_context::remove(http_stream::user& one) {
  auto at = users_.find(&one);
  if (at == users_.end()) return;
  auto last = std::move(at->second); // what dies with it may come back here
  users_.erase(at);
  if (users_.empty()) run_clock(false);
}

void http_context::disconnect(const std::function<bool(const http_peer&)>& whom) {
  std::vector<tls_stream*> unwanted;
  for (auto* one : tls_streams)
    if (whom(one->peer())) unwanted.push_back(one);
  for (auto* one : unwanted)
    if (tls_streams.contains(one)) one->cut(); // the end of one may have been the end of another
  std::vector<uint64_t> unwanted_sockets;
  for (auto& [serial, one] : connections_)
    if (!one->peer().socket.empty() && whom(one->peer())) unwanted_sockets.push_back(serial);
  for (auto serial : unwanted_sockets)
    if (auto at = connections_.find(serial); at != connections_.end()) at->second->cut();
}

uint64_t http_context::enter(socket_stream& one) {
  ++streams;
  connections_.emplace(++last_connection_, &one);
  return last_connection_;
}

void http_context::leave(uint64_t serial) {
  --streams;
  connections_.erase(serial);
}

bool http_context::make_room(const std::string& host) {
  socket_stream* found = nullptr;
  auto goes_before = [](socket_stream& one, socket_stream& other) {
    auto his = one.place()->taken(), others = other.place()->taken();
    return his != others ? his > others : one.rested_at() < other.rested_at();
  };
  for (auto& [serial, one] : connections_) {
    auto* place = one->place();
    if (!place || (!host.empty() && place->host() != host) || !one->idle()) continue;
    if (!found || goes_before(*one, *found)) found = one;
  }
  if (found) found->drop();
  return found != nullptr;
}

void http_context::abort_all() {
  while (!users_.empty()) {
    auto one = users_.begin()->second;
    one->abort();
    remove(*one);
  }
  run_clock(false);
  if (clock_)
    uv_close(reinterpret_cast<uv_handle_t*>(clock_), [](uv_handle_t* h) {
      delete static_cast<std::shared_ptr<http_context>*>(h->data);
      delete reinterpret_cast<uv_timer_t*>(h);
    });
  clock_ = nullptr;
  open.reset();
}

/// Ticks only while somebody is connected: an idle daemon sleeps.
void http_context::run_clock(bool wanted) {
  clock_runs_ = wanted && open;
  if (!clock_ && clock_runs_) {
    clock_ = new uv_timer_t{};
    uv_timer_init(uv, clock_);
    clock_->data = new std::shared_ptr<http_context>{shared_from_this()};
  }
  if (!clock_) return;
  if (!clock_runs_) {
    uv_timer_stop(clock_);
    return;
  }
  uv_timer_start(
      clock_,
      [](uv_timer_t* t) {
        auto self = *static_cast<std::shared_ptr<http_context>*>(t->data);
        self->deadlines_.tick(self->now_ms());
      },
      1000, 1000);
}

} // namespace troupe
