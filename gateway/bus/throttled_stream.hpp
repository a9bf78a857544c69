#pragma once

#include <functional>
#include <kj/async-io.h>

namespace troupe::on_bus {

/// A connection that is not read from while too many bytes of answers wait to be sent: a client that asks and never
/// reads costs a bounded amount of memory.
class throttled_stream final : public kj::AsyncIoStream {
public:
  /// `waiting`: bytes that wait to be sent right now; `most`: from how many on reading stops.
  throttled_stream(kj::Own<kj::AsyncIoStream> inner, std::function<size_t()> waiting, size_t most)
      : inner_{kj::mv(inner)}, waiting_{std::move(waiting)}, most_{most} {}

  kj::Promise<size_t> tryRead(void* buffer, size_t least, size_t size) override {
    if (waiting_() <= most_) return inner_->tryRead(buffer, least, size);
    auto way = kj::newPromiseAndFulfiller<void>();
    drained_ = kj::mv(way.fulfiller);
    return way.promise.then([this, buffer, least, size] { return tryRead(buffer, least, size); });
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

private:
  // The sender takes a message off its count only after its write has ended: look when all that has settled.
  kj::Promise<void> after(kj::Promise<void> written) {
    return written.then([this] {
      if (drained_) look_ = kj::evalLast([this] { resume(); }).eagerlyEvaluate(nullptr);
    });
  }
  void resume() {
    if (drained_ && waiting_() <= most_) {
      auto drained = kj::mv(drained_);
      drained->fulfill();
    }
  }

  kj::Own<kj::AsyncIoStream> inner_;
  std::function<size_t()> waiting_;
  size_t most_;
  kj::Own<kj::PromiseFulfiller<void>> drained_;
  kj::Promise<void> look_ = nullptr;
};

} // namespace troupe::on_bus
