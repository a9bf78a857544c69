#include "backends/instance/agent/guest/child.hpp"

#include <csignal>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe::guest {

child::child(kj::UnixEventPort& port, pid_t pid) : pid_{pid}, ended_{port.onChildExit(pid_).fork()} {}

child::~child() {
  if (kept_) signal(SIGKILL);
}

void child::signal(int number) {
  KJ_IF_MAYBE (pid, pid_) ::kill(*pid, number);
}

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void close_others(int but) {
  constexpr int first = 3, last = 4096; // old kernels have no close_range; the agent opens nothing above
#ifdef SYS_close_range
  bool closed = but == first || ::syscall(SYS_close_range, first, but - 1, 0) == 0;
  if (closed && ::syscall(SYS_close_range, but + 1, ~0U, 0) == 0) return;
#endif
  for (int fd = first; fd < last; ++fd)
    if (fd != but) ::close(fd);
}

} // namespace troupe::guest
