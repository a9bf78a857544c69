#include "backends/instance/agent/file_tunnel.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace troupe::guest {

file_tunnel::file_tunnel(kj::UnixEventPort& port, unique_fd socket, bool reads)
    : socket_{std::make_shared<loop_fd>(port, std::move(socket))}, reads_{reads} {}

ByteStream::Client file_tunnel::output() {
  auto way = kj::newPromiseAndFulfiller<void>();
  ended_ = kj::mv(way.promise);
  // A stream that is dropped without its end drops this, too, and what waits for it fails.
  std::shared_ptr<kj::PromiseFulfiller<void>> told{way.fulfiller.get(), [own = kj::mv(way.fulfiller)](auto*) {}};
  return kj::heap<fd_receiver>(socket_, true, [told] { told->fulfill(); });
}

kj::Promise<void> file_tunnel::run(ByteStream::Client input) {
  auto gone = socket_->when_gone();
  if (!reads_) {
    sender_ = std::make_unique<fd_sender>(socket_, kj::mv(input), fd_sender::afterwards::keep);
    sent_ = sender_->run().catch_([](kj::Exception&&) {}).eagerlyEvaluate(nullptr);
    return ended_.exclusiveJoin(kj::mv(gone));
  }
  // The kernel tells the thread of a broken stream only if a byte of his is still unread then.
  return ended_
      .then(
          [this] {
            return await_byte().then([this] {
              char byte = 0;
              static_cast<void>(socket_->try_read(&byte, 1));
            });
          },
          [this](kj::Exception&&) { return await_byte(); })
      .exclusiveJoin(kj::mv(gone))
      .attach(kj::mv(input));
}

kj::Promise<void> file_tunnel::await_byte() {
  char byte = 0;
  if (::recv(socket_->get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN) return kj::READY_NOW;
  return socket_->when_readable().then([this] { return await_byte(); });
}

} // namespace troupe::guest
