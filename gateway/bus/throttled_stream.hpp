#pragma once

#include <functional>
#include <kj/async-io.h>

namespace troupe::on_bus {

/// A connection that is read from only as fast as its session may go: not at all while `may_read` says no, and after
/// each message those of the other connections come first. So a client that floods, or never reads its answers, costs a
/// bounded amount of memory and a bounded part of every turn of the loop.
class throttled_stream final : public kj::AsyncIoStream {
public:
  throttled_stream(kj::Own<kj::AsyncIoStream> inner, std::function<bool()> may_read)
      : inner_{kj::mv(inner)}, may_read_{std::move(may_read)} {}

  kj::Promise<size_t> tryRead(void* buffer, size_t least, size_t size) override {
    if (!may_read_()) {
      auto way = kj::newPromiseAndFulfiller<void>();
      allowed_ = kj::mv(way.fulfiller);
      return way.promise.then([this, buffer, least, size] { return tryRead(buffer, least, size); });
    }
    if (++reads_ % reads_per_turn != 0) return inner_->tryRead(buffer, least, size);
    // Behind what is ready now. Not evalLast: that waits until nothing is ready, which a flood can put off for long.
    return kj::evalLater([this, buffer, least, size] { return inner_->tryRead(buffer, least, size); });
  }
  kj::Promise<void> write(const void* buffer, size_t size) override { return after(inner_->write(buffer, size)); }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
    return after(inner_->write(pieces));
  }
  kj::Promise<void> whenWriteDisconnected() override { return inner_->whenWriteDisconnected(); }
  void shutdownWrite() override { inner_->shutdownWrite(); }
  void abortRead() override { inner_->abortRead(); }
  void getsockopt(int level, int option, void* value, kj::uint* length) override {
    inner_->getsockopt(level, option, value, length);
  }
  void setsockopt(int level, int option, const void* value, kj::uint length) override {
    inner_->setsockopt(level, option, value, length);
  }

  /// `may_read` may have changed its mind. Looked at soon, and once more when all that is under way has settled: the
  /// sender takes a message off its count only after its write has ended.
  void look_again() {
    if (!allowed_) return;
    look_ = kj::evalLater([this] {
              resume();
            }).then([this] {
                return kj::evalLast([this] { resume(); });
              }).eagerlyEvaluate(nullptr);
  }

private:
  static constexpr unsigned reads_per_turn = 2; // a message takes two

  kj::Promise<void> after(kj::Promise<void> written) {
    return written.then([this] { look_again(); });
  }
  void resume() {
    if (!allowed_ || !may_read_()) return;
    auto allowed = kj::mv(allowed_);
    allowed->fulfill();
  }

  kj::Own<kj::AsyncIoStream> inner_;
  std::function<bool()> may_read_;
  unsigned reads_ = 0;
  kj::Own<kj::PromiseFulfiller<void>> allowed_;
  kj::Promise<void> look_ = nullptr;
};

} // namespace troupe::on_bus
