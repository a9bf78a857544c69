#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

namespace troupe {

/// A bounded pool of threads for calls that may block (drivers, file systems). Threads are made on demand, up to
/// `threads_max`, and leave after being idle for a while. Work beyond `queue_max` is refused. Thread-safe. A throw in
/// the work is logged.
class blocking_pool {
public:
  explicit blocking_pool(size_t threads_max, size_t queue_max = 4096,
                         std::chrono::milliseconds idle_max = std::chrono::seconds{10});
  ~blocking_pool(); // refuses new work, finishes what was taken, joins

  /// False: the queue is full or the pool is closing; `work` was not taken.
  [[nodiscard]] bool submit(std::function<void()> work);
  size_t queued() const;  // taken, not yet begun
  size_t threads() const; // busy or idle

private:
  struct data;
  std::unique_ptr<data> data_;
};

} // namespace troupe
