#include "gateway/bus_door.hpp"

#include "gateway/bus/mailbox.hpp"
#include "gateway/bus/place.hpp"
#include "gateway/bus/throttled_stream.hpp"
#include "gateway/door_limits.hpp"
#include "gateway/http_listener.hpp"
#include "gateway/rest/authentication_log.hpp"
#include "gateway/stream_relay.hpp"
#include "gateway/trust.hpp"
#include "messages/bus.capnp.h"
#include "messages/rights.hpp"

#include <capnp/rpc-twoparty.h>
#include <future>
#include <map>
#include <sys/socket.h>
#include <thread>

namespace troupe {
namespace {

// What one session may cost; docs/bus.md tells the numbers.
constexpr size_t words_in_flight_max = 128 << 10; // parameters of unanswered calls; then the session is not read from
constexpr size_t unsent_bytes_max = 4 << 20;      // of answers; then, too
constexpr capnp::ReaderOptions frame_limits{1 << 20, 64}; // words of one message, depth of its pointers
constexpr unsigned events_between_polls = 8; // so that a flood on one connection does not starve the others

class task_errors final : public kj::TaskSet::ErrorHandler {
public:
  void taskFailed(kj::Exception&& why) override { log().info("Bus: {}", why.getDescription().cStr()); }
};

struct connection {
  on_bus::session_ptr of;
  on_bus::throttled_stream stream;
  capnp::TwoPartyVatNetwork network{stream, capnp::rpc::twoparty::Side::SERVER, frame_limits};
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc;
  kj::PromiseFulfillerPair<void> cut = kj::newPromiseAndFulfiller<void>();

  connection(on_bus::session_ptr session, kj::Own<kj::AsyncIoStream> from, capnp::Capability::Client bootstrap)
      : of{std::move(session)}, stream{kj::mv(from), [this] { return may_read(); }}, rpc{capnp::makeRpcServer(
                                                                                         network, kj::mv(bootstrap))} {
    rpc.setFlowLimit(words_in_flight_max);
    of->on_answered = [this] { stream.look_again(); };
  }
  ~connection() noexcept(false) { // handles may keep the session
    of->on_answered = nullptr;
    of->trusted = [] { return false; };
  }
  KJ_DISALLOW_COPY(connection);

  bool may_read() {
    return network.getCurrentQueueSize() <= unsent_bytes_max && of->at_work < of->share.at_work_max(of.get());
  }
  kj::Promise<void> end() { return network.onDisconnect().exclusiveJoin(kj::mv(cut.promise)); }
};

// Who comes over TLS: what the handshake has proved, and our end of the way to him.
struct arrival {
  http_peer peer;
  unique_fd socket;
  std::shared_ptr<activity> doings = std::make_shared<activity>();
};
using arrivals = on_bus::mailbox<arrival>;

// On the loop of the TLS streams. Between that and the bus thread a socket pair carries the plain bytes: each side
// waits for the other in the way it does anyway.
void hand_over(arrivals& to, std::unique_ptr<http_stream> stream) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return; // it is closed
  unique_fd theirs{ends[0]};
  arrival one{stream->peer(), unique_fd{ends[1]}};
  auto doings = one.doings;
  to.put(std::move(one));
  stream_relay::start(std::move(stream), std::move(theirs), std::move(doings));
}

principal peer_of(kj::AsyncIoStream& stream) {
  ucred who{};
  unsigned size = sizeof who;
  stream.getsockopt(SOL_SOCKET, SO_PEERCRED, &who, &size);
  return unix_principal(who.uid);
}

std::shared_ptr<header> head_of(principal who) {
  auto head = std::make_shared<header>();
  head->who = std::move(who);
  return head;
}

bool is_known(const principal& who) { return who.level >= trust::granted; }

} // namespace

struct bus_door::data {
  services& with;
  tls_listeners& listeners;
  trusted trusts;
  arrivals guests;
  std::unique_ptr<unix_listener> listener;
  std::thread thread;
  kj::Own<kj::CrossThreadPromiseFulfiller<void>> close, end; // of the socket, of the thread

  std::unique_ptr<http_server> make_server() {
    return std::make_unique<http_server>(
        with.io, http_limits_of(door_kind::bus_tls),
        [this](std::unique_ptr<http_stream> stream) { hand_over(guests, std::move(stream)); });
  }
};

namespace {

// Everything that lives on the bus thread.
class bus_loop {
public:
  bus_loop(services& with, tls_listeners& listeners, bus_door::trusted& trusts)
      : with_{with}, listeners_{listeners}, trusts_{trusts}, log_{with} {
    io_.waitScope.setBusyPollInterval(events_between_polls);
  }

  void run(unique_fd socket, arrivals& guests, kj::Promise<void> close, kj::Promise<void> end) {
    auto receiver = io_.lowLevelProvider->wrapListenSocketFd(socket.release(), socket_flags);
    auto& from = *receiver;
    connections_.add(accept_all(from).exclusiveJoin(kj::mv(close)).attach(kj::mv(receiver)));
    connections_.add(welcome_all(guests));
    end.wait(io_.waitScope);
    ending_ = true;
  }

private:
  static constexpr unsigned socket_flags = kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                                           kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                                           kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK;

  // No descriptor left (or the like): pauses instead of asking again at once.
  kj::Promise<void> accept_all(kj::ConnectionReceiver& from) {
    return from.accept()
        .then(
            [this](kj::Own<kj::AsyncIoStream>&& stream) -> kj::Promise<void> {
              if (has_room()) let_in(kj::mv(stream));
              return kj::READY_NOW;
            },
            [this](kj::Exception&& why) -> kj::Promise<void> {
              log().warn("Bus: {}", why.getDescription().cStr());
              return io_.provider->getTimer().afterDelay(100 * kj::MILLISECONDS);
            })
        .then([this, &from] { return accept_all(from); });
  }

  // Who has nothing under way can come again: who has had nothing for longest goes.
  bool has_room() {
    if (local_.size() < limits_of(door_kind::bus_unix).connections) return true;
    auto goes = local_.end();
    for (auto at = local_.begin(); at != local_.end(); ++at) {
      auto& doings = *at->second->of->doings;
      if (!doings.idle()) continue;
      if (goes == local_.end() || doings.rested_at() < goes->second->of->doings->rested_at()) goes = at;
    }
    if (goes == local_.end()) return false;
    goes->second->cut.fulfiller->fulfill();
    local_.erase(goes);
    return true;
  }

  void let_in(kj::Own<kj::AsyncIoStream> stream) {
    auto who = peer_of(*stream);
    auto serial = ++last_local_;
    auto& made = begin(kj::mv(stream), std::move(who), kj::defer([this, serial] { local_.erase(serial); }));
    local_.emplace(serial, &made);
  }

  kj::Promise<void> welcome_all(arrivals& guests) {
    return guests.filled().then([this, &guests] {
      for (auto& one : guests.take()) try {
          welcome(std::move(one));
        } catch (const std::exception& broken) { // malformed stored data; the next is welcome all the same
          log().error("Bus: {}", broken.what());
        }
      return welcome_all(guests);
    });
  }

  // Who is not known goes again: his end of the socket pair closes with ours.
  void welcome(arrival one) {
    auto caller = caller_of(one.peer, with_.db.read());
    if (!is_known(caller.who)) return turn_away(one.peer, std::move(caller));
    log_.came_in(*head_of(caller.who));
    if (caller.until) trusts_(caller.who.username, caller.until);
    auto stream = io_.lowLevelProvider->wrapSocketFd(one.socket.release(), socket_flags);
    auto& made = begin(kj::mv(stream), std::move(caller.who), nullptr);
    made.of->doings = std::move(one.doings);
    made.of->trusted = [this, peer = std::move(one.peer), &made] { return still_trusts(peer, made); };
  }

  // Looked up for every call, as for every request of REST: a removed certificate counts no more, nor one that has
  // expired; with other rights than before it has to come again.
  bool still_trusts(const http_peer& peer, connection& made) {
    auto now = caller_of(peer, with_.db.read());
    auto& before = made.of->who;
    bool given_same = now.who.level != trust::granted || now.who.given == before.given ||
                      (before.given && *now.who.given == *before.given);
    if (now.who.level == before.level && now.who.projects == before.projects && given_same) return true;
    turn_away(peer, std::move(now));
    made.cut.fulfiller->fulfill();
    return false;
  }

  void turn_away(const http_peer& peer, caller who) {
    auto why = who.doubt.empty() ? std::string{"The caller has no right to this"} : who.doubt;
    log_.turned_away(*head_of(std::move(who.who)), peer, {{"door", "bus"}}, why);
  }

  template <class Leaves>
  connection& begin(kj::Own<kj::AsyncIoStream> stream, principal who, Leaves&& leaves) {
    auto head = head_of(who);
    on_bus::session_ptr session{new on_bus::session{with_, listeners_, open_, io_, background_, share_, std::move(who)},
                                [this](on_bus::session* over) {
                                  open_.erase(over);
                                  delete over;
                                }};
    session->ending = &ending_;
    open_.insert(session.get());
    auto root = on_bus::handle_of<bus::Bus>({session, std::move(head), {}});
    auto made = kj::heap<connection>(std::move(session), kj::mv(stream), kj::mv(root));
    auto& out = *made;
    auto over = made->end();
    connections_.add(over.attach(kj::mv(made), kj::mv(leaves)));
    return out;
  }

  bool ending_ = false;
  services& with_;
  tls_listeners& listeners_;
  bus_door::trusted& trusts_;
  authentication_log log_;
  task_errors errors_;
  std::map<uint64_t, connection*> local_; // of the unix socket, in the order they came
  uint64_t last_local_ = 0;
  std::set<const on_bus::session*> open_;
  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  kj::TaskSet background_{errors_};
  on_bus::fair_share share_{kj::systemPreciseMonotonicClock()};
  kj::TaskSet connections_{errors_};
};

} // namespace

bus_door::bus_door(services& with, tls_listeners& listeners, trusted trusts)
    : data_{new data{with, listeners, std::move(trusts), {}, nullptr, {}, {}, {}}} {}

bus_door::~bus_door() {
  data_->listeners.close(tls_door::bus);
  if (!data_->thread.joinable()) return;
  data_->end->fulfill();
  data_->thread.join();
}

outcome<void> bus_door::listen(const std::string& unix_socket) {
  auto listener = unix_listener::open(unix_socket, 0600);
  if (!listener) return tl::unexpected{listener.error()};
  data_->listener = std::make_unique<unix_listener>(std::move(*listener));
  std::promise<void> ready;
  data_->thread = std::thread{[this, &ready] {
    bus_loop loop{data_->with, data_->listeners, data_->trusts};
    auto close = kj::newPromiseAndCrossThreadFulfiller<void>();
    auto end = kj::newPromiseAndCrossThreadFulfiller<void>();
    data_->close = kj::mv(close.fulfiller);
    data_->end = kj::mv(end.fulfiller);
    ready.set_value();
    loop.run(data_->listener->take_socket(), data_->guests, kj::mv(close.promise), kj::mv(end.promise));
  }};
  ready.get_future().wait();
  data_->listeners.open(tls_door::bus, [d = data_.get()] { return d->make_server(); });
  return {};
}

void bus_door::stop_listening() {
  data_->listeners.close(tls_door::bus);
  if (data_->listener) data_->close->fulfill();
}

} // namespace troupe
