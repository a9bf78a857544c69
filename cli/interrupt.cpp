#include "cli/interrupt.hpp"

#include <cerrno>
#include <chrono>
#include <poll.h>
#include <sys/signalfd.h>

namespace troupe {

using namespace std::chrono;

interrupt::interrupt() {
  sigset_t ours;
  sigemptyset(&ours);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ours, signal);
  sigprocmask(SIG_BLOCK, &ours, &before_);
  fd_ = unique_fd{signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK)};
}

interrupt::~interrupt() {
  // Taken out first, or it would kill the process now that the work is undone.
  signalfd_siginfo taken;
  while (::read(fd_.get(), &taken, sizeof taken) > 0) {
  }
  sigprocmask(SIG_SETMASK, &before_, nullptr);
}

outcome<void> interrupt::check() const {
  auto idle = wait_for(-1, 0, 0, this);
  if (!idle) return tl::unexpected{idle.error()};
  return {};
}

outcome<bool> interrupt::wait(int fd, short events, int timeout_ms) const {
  return wait_for(fd, events, timeout_ms, this);
}

outcome<bool> wait_for(int fd, short events, int timeout_ms, const interrupt* stop) {
  auto deadline = steady_clock::now() + milliseconds{timeout_ms};
  for (;;) {
    pollfd watched[] = {{stop ? stop->fd() : -1, POLLIN, 0}, {fd, events, 0}}; // poll skips -1
    int left =
        timeout_ms < 0 ? -1 : static_cast<int>(duration_cast<milliseconds>(deadline - steady_clock::now()).count());
    int found = ::poll(watched, 2, left < 0 && timeout_ms >= 0 ? 0 : left);
    if (found < 0 && errno == EINTR) continue;
    if (found < 0) return fail_errno(errno, "Cannot wait for the server");
    if (watched[0].revents) return fail(fault::cancelled, "Interrupted");
    return found > 0;
  }
}

} // namespace troupe
