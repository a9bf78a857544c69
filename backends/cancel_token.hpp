#pragma once

#include "messages/unique_fd.hpp"

#include <atomic>
#include <sys/eventfd.h>

namespace troupe {

/// Tells a call that blocks on another thread to end soon, with fault::cancelled. Thread-safe; cannot be taken back.
class cancel_token {
public:
  void cancel() noexcept {
    cancelled_ = true;
    static_cast<void>(eventfd_write(event_.get(), 1));
  }
  bool cancelled() const noexcept { return cancelled_; }
  /// Readable from then on.
  int fd() const noexcept { return event_.get(); }

private:
  std::atomic<bool> cancelled_{false};
  unique_fd event_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

} // namespace troupe
