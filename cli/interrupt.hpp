#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <csignal>

namespace troupe {

/// While it lives, SIGINT, SIGTERM and SIGHUP do not end the process but make `fd()` readable, so that the command
/// unwinds and removes what it made. Single thread only: make one in the command's outermost function.
class interrupt {
public:
  interrupt();
  ~interrupt();
  interrupt(const interrupt&) = delete;
  interrupt& operator=(const interrupt&) = delete;

  int fd() const noexcept { return fd_.get(); }
  /// Fails once a signal has come; to be called between steps.
  outcome<void> check() const;
  /// Waits until `fd` has one of `events` (poll's), at most `timeout_ms` (-1: for ever). False: time is up.
  outcome<bool> wait(int fd, short events, int timeout_ms = -1) const;

private:
  unique_fd fd_;
  sigset_t before_{};
};

/// Like interrupt::wait; `stop` may be null.
outcome<bool> wait_for(int fd, short events, int timeout_ms, const interrupt* stop);

} // namespace troupe
