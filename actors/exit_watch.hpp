#pragma once

#include "messages/unique_fd.hpp"
#include "runtime/loop.hpp"

#include <functional>
#include <memory>

namespace troupe {

/// Calls `ended` once on the loop's thread when the process behind the pidfd has ended. Dropping it ends the watch,
/// from any thread.
class exit_watch {
public:
  exit_watch(loop& on, unique_fd pidfd, std::function<void()> ended);
  ~exit_watch();
  exit_watch(const exit_watch&) = delete;
  exit_watch& operator=(const exit_watch&) = delete;

private:
  struct data;
  loop& on_;
  std::shared_ptr<data> data_;
};

} // namespace troupe
