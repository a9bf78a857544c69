#include "persist/checkpointer.hpp"

#include <utility>

namespace troupe {

checkpointer::checkpointer(store_state& state, std::chrono::milliseconds after)
    : state_{state}, after_{after}, thread_{[this] { run(); }} {}

checkpointer::~checkpointer() {
  {
    std::lock_guard guard{mutex_};
    end_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void checkpointer::notify(bool now) {
  std::lock_guard guard{mutex_};
  bool wakes = !dirty_ || (now && !now_);
  dirty_ = true;
  now_ = now_ || now;
  if (wakes) changed_.notify_one();
}

void checkpointer::run() {
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [this] { return dirty_ || end_; });
    changed_.wait_for(lock, after_, [this] { return now_ || end_; });
    if (end_) return;
    dirty_ = now_ = false;
    lock.unlock();
    bool failed = !state_.checkpoint();
    lock.lock();
    // The log keeps what a full or failing disk did not take; the next commit may have to wait for it.
    dirty_ = dirty_ || failed;
  }
}

} // namespace troupe
