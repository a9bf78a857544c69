#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe {

class loop;

/// How a child is started: an argument vector (never a shell), a clean environment, and exactly the descriptors named.
/// It begins in "/" with no signal blocked, ignored or caught, and inherits the daemon's umask and resource limits.
struct child_spec {
  std::vector<std::string> command;             // command[0]: absolute path
  std::vector<std::string> environment;         // "K=V"; nothing is inherited
  std::vector<std::pair<int, int>> descriptors; // (ours, theirs); all others are closed, 0-2 default to /dev/null
  bool die_with_daemon = false;                 // PR_SET_PDEATHSIG SIGKILL
  bool new_session = true;
};

struct child_exit {
  int code = 0;
  int signal = 0;
}; // signal != 0: killed by it

/// A running child, watched by its pidfd. Destroying it does not end the process, only the watch (it is still reaped):
/// `ended` is not begun after that. On another thread than the loop's, a call of `ended` may still be under way.
class child {
public:
  virtual ~child() = default;
  virtual pid_t pid() const noexcept = 0;
  virtual void signal(int number) noexcept = 0; // by pidfd: never hits a later process of the same pid
};

/// Starts it (vfork-like, safe in a threaded program); `ended` runs on the loop's thread, once. Any thread may call; it
/// waits until the program is executed (or for the loop, with `die_with_daemon`, since the kernel ties that to the
/// life of the thread that made the child). Errors: invalid (the spec), not_found (no such program), backend_failed.
outcome<std::unique_ptr<child>> spawn(loop& on, const child_spec& spec, std::function<void(child_exit)> ended);

/// A process found alive by a restarted daemon: not our child, only watched. nullopt-like error when it is gone or is
/// another one
/// (`start_time`: field 22 of /proc/PID/stat).
outcome<std::unique_ptr<child>> adopt(loop& on, pid_t pid, uint64_t start_time, std::function<void()> ended);

/// Field 22 of /proc/PID/stat, 0 when there is no such process.
uint64_t process_start_time(pid_t pid);

} // namespace troupe
