#pragma once

#include "persist/store_state.hpp"

#include <chrono>
#include <condition_variable>
#include <thread>

namespace troupe {

/// The thread that brings LMDB up to date behind the writer's back: when the log has filled a file, and a while after
/// the last commits otherwise.
class checkpointer {
public:
  /// `state` must outlive it.
  checkpointer(store_state& state, std::chrono::milliseconds after);
  /// Ends the thread, without a last checkpoint.
  ~checkpointer();

  /// There is something for a checkpoint; `now`: do not wait for more. Any thread.
  void notify(bool now);

private:
  void run();

  store_state& state_;
  std::chrono::milliseconds after_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool dirty_ = false, now_ = false, end_ = false;
  std::thread thread_;
};

} // namespace troupe
