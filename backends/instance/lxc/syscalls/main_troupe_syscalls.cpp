// troupe-syscalls: does for the containers of one monitor what the kernel lets only the host's root do, within narrow
// bounds (calls.cpp). The daemon starts one for each monitor that connects, with the connection as descriptor 3, and
// has no part in it afterwards: it ends with the monitor, and outlives the daemon.

#include "backends/instance/lxc/syscalls/calls.hpp"

#include <csignal>
#include <linux/audit.h>
#include <sys/prctl.h>
#include <sys/wait.h>

int main() {
  using namespace troupe::syscalls;
  constexpr int monitor = 3;
#if defined(__x86_64__)
  constexpr uint32_t native = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
  constexpr uint32_t native = AUDIT_ARCH_AARCH64;
#else
  constexpr uint32_t native = 0; // numbers of calls are not known: everything goes on by itself
#endif
  ::prctl(PR_SET_NAME, "troupe-syscalls", 0, 0, 0);
  ::signal(SIGPIPE, SIG_IGN);
  while (auto call = receive(monitor)) {
    auto what = call->call.data.arch == native ? handle(*call) : on_its_own;
    if (!answer(monitor, *call, what)) return 0;
    while (::waitpid(-1, nullptr, WNOHANG) > 0) { // one that hung has ended since
    }
  }
  return 0;
}
