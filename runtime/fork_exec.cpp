#include "runtime/fork_exec.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// The child shares the daemon's memory until it executes its program (as with vfork), while the daemon's other threads
// go on: it may only make system calls on values prepared before. They are made raw, because the sanitizers' wrappers
// keep books in that shared memory; for the same reason the child's own code is not instrumented.
#define IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined")))

// The C library's other name of clone(2): the thread sanitizer does not know it. It would take the child for a fork.
extern "C" int __clone(int (*child)(void*), void* stack, int flags, void* argument, ...);

namespace troupe {
namespace {

struct move {
  int from;
  int to;
  int parked; // above every `to`, so that no move overwrites the source of another
};

struct range {
  unsigned first;
  unsigned last;
};

/// All the child needs, made by the parent; `failed` and `number` are what it answers.
struct plan {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  std::vector<move> moves;
  std::vector<range> closed;
  int park_from = 3;
  pid_t daemon = 0; // nonzero: die with it
  bool new_session = false;

  const char* failed = nullptr; // which step
  int number = 0;               // its errno
};

IN_CHILD bool place_descriptors(plan& p) {
  for (auto* m = p.moves.data(); m != p.moves.data() + p.moves.size(); ++m) {
    m->parked = static_cast<int>(::syscall(SYS_fcntl, m->from, F_DUPFD_CLOEXEC, p.park_from));
    if (m->parked < 0) return false;
  }
  for (auto* m = p.moves.data(); m != p.moves.data() + p.moves.size(); ++m)
    if (::syscall(SYS_dup3, m->parked, m->to, 0) < 0) return false;
  for (auto* r = p.closed.data(); r != p.closed.data() + p.closed.size(); ++r)
    if (::syscall(SYS_close_range, r->first, r->last, 0) < 0) return false;
  return true;
}

IN_CHILD void reset_signals() {
  // The kernel's own struct: all zero is the default action on every architecture. 64 signals, mask of 8 bytes.
  static constexpr unsigned long standard[8] = {};
  static constexpr unsigned long long nothing = 0;
  for (int number = 1; number <= 64; ++number) ::syscall(SYS_rt_sigaction, number, standard, nullptr, 8);
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &nothing, nullptr, 8);
}

IN_CHILD const char* become(plan& p) {
  if (p.new_session && ::syscall(SYS_setsid) < 0) return "start a session for";
  if (!place_descriptors(p)) return "pass the descriptors to";
  if (::syscall(SYS_chdir, "/") < 0) return "change to / for";
  if (p.daemon) {
    if (::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return "tie to the daemon the program";
    if (::syscall(SYS_getppid) != p.daemon) ::syscall(SYS_exit_group, 127); // it died before we were tied to it
  }
  reset_signals();
  ::syscall(SYS_execve, p.arguments[0], p.arguments.data(), p.environment.data());
  return "execute";
}

IN_CHILD int child_main(void* argument) {
  auto& p = *static_cast<plan*>(argument);
  p.failed = become(p);
  p.number = errno;
  ::syscall(SYS_exit_group, 127);
  return 127;
}

bool has_nul(const std::vector<std::string>& all) {
  return std::any_of(all.begin(), all.end(), [](auto& s) { return s.find('\0') != std::string::npos; });
}

std::vector<char*> pointers(const std::vector<std::string>& all) {
  std::vector<char*> made;
  made.reserve(all.size() + 1);
  for (auto& s : all) made.push_back(const_cast<char*>(s.c_str())); // execve(2) does not write
  made.push_back(nullptr);
  return made;
}

outcome<plan> make_plan(const child_spec& spec, int null_fd) {
  if (spec.command.empty() || spec.command[0].empty() || spec.command[0][0] != '/')
    return fail(fault::invalid, "A program must be named by its absolute path");
  if (has_nul(spec.command) || has_nul(spec.environment))
    return fail(fault::invalid, "An argument of " + spec.command[0] + " contains a zero byte");
  plan made;
  made.arguments = pointers(spec.command);
  made.environment = pointers(spec.environment);
  made.new_session = spec.new_session;
  made.daemon = spec.die_with_daemon ? ::getpid() : 0;
  for (auto [ours, theirs] : spec.descriptors) made.moves.push_back({ours, theirs, -1});
  for (int standard = 0; standard < 3; ++standard)
    if (std::none_of(made.moves.begin(), made.moves.end(), [=](const move& m) { return m.to == standard; }))
      made.moves.push_back({null_fd, standard, -1});
  std::sort(made.moves.begin(), made.moves.end(), [](const move& a, const move& b) { return a.to < b.to; });
  unsigned next = 0;
  for (auto& m : made.moves) {
    if (m.from < 0 || m.to < 0 || static_cast<unsigned>(m.to) < next)
      return fail(fault::invalid, "The descriptors for " + spec.command[0] + " are negative or named twice");
    if (static_cast<unsigned>(m.to) > next) made.closed.push_back({next, static_cast<unsigned>(m.to) - 1});
    next = static_cast<unsigned>(m.to) + 1;
  }
  made.closed.push_back({next, UINT_MAX});
  made.park_from = static_cast<int>(next);
  return made;
}

/// No handler of the daemon may run in the child, on the daemon's memory.
class signals_blocked {
public:
  signals_blocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  signals_blocked(const signals_blocked&) = delete;
  signals_blocked& operator=(const signals_blocked&) = delete;
  ~signals_blocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
  sigset_t before_{};
};

} // namespace

outcome<started> fork_exec(const child_spec& spec) {
  unique_fd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  if (!null) return fail_errno(errno, "Cannot open /dev/null");
  auto p = make_plan(spec, null.get());
  if (!p) return tl::unexpected{p.error()};
  constexpr size_t stack_bytes = 64 * 1024;
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  auto top = reinterpret_cast<uintptr_t>(stack.get() + stack_bytes) & ~uintptr_t{63};
  int pidfd = -1;
  int pid = -1;
  int number = 0;
  {
    signals_blocked quiet;
    pid = ::__clone(child_main, reinterpret_cast<void*>(top), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &*p,
                    &pidfd, nullptr, nullptr);
    number = errno;
  }
  if (pid < 0) return fail_errno(number, "Cannot make a process for " + spec.command[0]);
  started made{pid, unique_fd{pidfd}};
  if (!p->failed) return made;
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) < 0 && errno == EINTR) {
  }
  return fail_errno(p->number, std::string{"Cannot "} + p->failed + " " + spec.command[0]);
}

} // namespace troupe
