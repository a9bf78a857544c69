#include "gateway/bus_door.hpp"

#include "gateway/bus/place.hpp"
#include "gateway/bus/throttled_stream.hpp"
#include "gateway/http_listener.hpp"
#include "messages/bus.capnp.h"

#include <capnp/rpc-twoparty.h>
#include <future>
#include <sys/socket.h>
#include <thread>

namespace troupe {
namespace {

// What one session may cost; docs/bus.md tells the numbers.
constexpr size_t sessions_max = 512;
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

  connection(on_bus::session_ptr session, kj::Own<kj::AsyncIoStream> from, capnp::Capability::Client bootstrap)
      : of{std::move(session)}, stream{kj::mv(from), [this] { return may_read(); }}, rpc{capnp::makeRpcServer(
                                                                                         network, kj::mv(bootstrap))} {
    rpc.setFlowLimit(words_in_flight_max);
    of->on_answered = [this] { stream.look_again(); };
  }
  ~connection() noexcept(false) { of->on_answered = nullptr; } // handles may keep the session
  KJ_DISALLOW_COPY(connection);

  bool may_read() {
    return network.getCurrentQueueSize() <= unsent_bytes_max && of->at_work < of->share.at_work_max(of.get());
  }
};

principal peer_of(kj::AsyncIoStream& stream) {
  ucred who{};
  unsigned size = sizeof who;
  stream.getsockopt(SOL_SOCKET, SO_PEERCRED, &who, &size);
  return unix_principal(who.uid);
}

} // namespace

struct bus_door::data {
  services& with;
  tls_listeners& listeners;
  std::unique_ptr<unix_listener> listener;
  std::thread thread;
  kj::Own<kj::CrossThreadPromiseFulfiller<void>> close, end; // of the socket, of the thread
};

namespace {

// Everything that lives on the bus thread.
class bus_loop {
public:
  bus_loop(services& with, tls_listeners& listeners) : with_{with}, listeners_{listeners} {
    io_.waitScope.setBusyPollInterval(events_between_polls);
  }

  // No descriptor left (or the like): pauses instead of asking again at once.
  kj::Promise<void> accept_all(kj::ConnectionReceiver& from) {
    return from.accept()
        .then(
            [this](kj::Own<kj::AsyncIoStream>&& stream) -> kj::Promise<void> {
              if (sessions_ < sessions_max) begin(kj::mv(stream));
              return kj::READY_NOW;
            },
            [this](kj::Exception&& why) -> kj::Promise<void> {
              log().warn("Bus: {}", why.getDescription().cStr());
              return io_.provider->getTimer().afterDelay(100 * kj::MILLISECONDS);
            })
        .then([this, &from] { return accept_all(from); });
  }

  void run(unique_fd socket, kj::Promise<void> close, kj::Promise<void> end) {
    auto flags = kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP | kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                 kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK;
    auto receiver = io_.lowLevelProvider->wrapListenSocketFd(socket.release(), flags);
    auto& from = *receiver;
    connections_.add(accept_all(from).exclusiveJoin(kj::mv(close)).attach(kj::mv(receiver)));
    end.wait(io_.waitScope);
  }

private:
  void begin(kj::Own<kj::AsyncIoStream> stream) {
    auto who = peer_of(*stream);
    auto head = std::make_shared<header>();
    head->who = who;
    on_bus::session_ptr session{new on_bus::session{with_, listeners_, open_, io_, background_, share_, std::move(who)},
                                [this](on_bus::session* over) {
                                  open_.erase(over);
                                  delete over;
                                }};
    open_.insert(session.get());
    auto root = on_bus::handle_of<bus::Bus>({session, std::move(head), {}});
    auto made = kj::heap<connection>(std::move(session), kj::mv(stream), kj::mv(root));
    ++sessions_;
    auto over = made->network.onDisconnect();
    connections_.add(over.attach(kj::mv(made), kj::defer([this] { --sessions_; })));
  }

  services& with_;
  tls_listeners& listeners_;
  task_errors errors_;
  size_t sessions_ = 0;
  std::set<const on_bus::session*> open_;
  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  kj::TaskSet background_{errors_};
  on_bus::fair_share share_{kj::systemPreciseMonotonicClock()};
  kj::TaskSet connections_{errors_};
};

} // namespace

bus_door::bus_door(services& with, tls_listeners& listeners) : data_{new data{with, listeners, nullptr, {}, {}, {}}} {}

bus_door::~bus_door() {
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
    bus_loop loop{data_->with, data_->listeners};
    auto close = kj::newPromiseAndCrossThreadFulfiller<void>();
    auto end = kj::newPromiseAndCrossThreadFulfiller<void>();
    data_->close = kj::mv(close.fulfiller);
    data_->end = kj::mv(end.fulfiller);
    ready.set_value();
    loop.run(data_->listener->take_socket(), kj::mv(close.promise), kj::mv(end.promise));
  }};
  ready.get_future().wait();
  return {};
}

void bus_door::stop_listening() {
  if (data_->listener) data_->close->fulfill();
}

} // namespace troupe
