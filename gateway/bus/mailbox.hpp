#pragma once

#include <deque>
#include <kj/async.h>
#include <memory>
#include <mutex>
#include <utility>

namespace troupe::on_bus {

/// What other threads have put in and the bus thread has not taken yet. Any thread, except where said.
template <class T>
class mailbox {
public:
  void put(T one) {
    std::shared_ptr<fulfiller> bell;
    {
      std::lock_guard lock{guard_};
      waiting_.push_back(std::move(one));
      bell = std::move(bell_);
    }
    if (bell) (*bell)->fulfill();
  }

  std::deque<T> take() {
    std::lock_guard lock{guard_};
    return std::exchange(waiting_, {});
  }

  /// Ends when there is something to take. On the bus thread.
  kj::Promise<void> filled() {
    auto way = kj::newPromiseAndCrossThreadFulfiller<void>();
    std::lock_guard lock{guard_};
    if (!waiting_.empty()) return kj::READY_NOW;
    bell_ = std::make_shared<fulfiller>(kj::mv(way.fulfiller));
    return kj::mv(way.promise);
  }

private:
  using fulfiller = kj::Own<kj::CrossThreadPromiseFulfiller<void>>;

  std::mutex guard_;
  std::deque<T> waiting_;
  std::shared_ptr<fulfiller> bell_;
};

} // namespace troupe::on_bus
