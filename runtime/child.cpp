#include "runtime/child.hpp"

#include "runtime/fork_exec.hpp"
#include "runtime/log.hpp"
#include "runtime/loop.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <future>
#include <mutex>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe {
namespace {

/// One process under watch. Lives until it ended (or its loop did), whatever the owner of the `child` does.
class process : public std::enable_shared_from_this<process> {
public:
  process(pid_t pid, unique_fd pidfd, bool ours, std::function<void(child_exit)> ended)
      : pid_{pid}, pidfd_{std::move(pidfd)}, ours_{ours}, ended_{std::move(ended)} {}

  pid_t pid() const noexcept { return pid_; }

  void signal(int number) noexcept { ::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0); }

  /// On the loop's thread.
  void watch(loop& on) {
    handle_ = on.watch_readable(pidfd_.get(), [self = shared_from_this()] { self->finish(WNOHANG); });
    if (handle_) return;
    // Nobody would ever learn of its end: better none at all than one out of sight.
    log().error("Cannot watch the process {}: it is killed", pid_);
    signal(SIGKILL);
    finish(0);
  }

  void forget() {
    std::function<void(child_exit)> dropped;
    std::lock_guard guard{lock_};
    dropped.swap(ended_);
  }

private:
  /// False: it has not ended.
  bool reap(child_exit& how, int flags) {
    if (!ours_) return true;
    siginfo_t info{};
    int done = 0;
    do done = ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | flags);
    while (done < 0 && errno == EINTR);
    if (done == 0 && info.si_pid == 0) return false;
    if (done < 0)
      how.code = 255; // reaped by somebody else: how it ended is lost
    else if (info.si_code == CLD_EXITED)
      how.code = info.si_status;
    else
      how.signal = info.si_status;
    return true;
  }

  void finish(int flags) {
    auto alive = shared_from_this(); // the handle may hold the last reference
    child_exit how;
    if (!reap(how, flags)) return;
    handle_.reset();
    std::function<void(child_exit)> call;
    {
      std::lock_guard guard{lock_};
      call.swap(ended_);
    }
    if (call) call(how);
  }

  const pid_t pid_;
  const unique_fd pidfd_; // before handle_: the watch must end before it is closed
  const bool ours_;
  loop::handle_ptr handle_; // the loop's thread only
  std::mutex lock_;
  std::function<void(child_exit)> ended_; // guarded by lock_
};

class watched_child final : public child {
public:
  explicit watched_child(std::shared_ptr<process> p) : process_{std::move(p)} {}
  watched_child(const watched_child&) = delete;
  watched_child& operator=(const watched_child&) = delete;
  ~watched_child() override { process_->forget(); }
  pid_t pid() const noexcept override { return process_->pid(); }
  void signal(int number) noexcept override { process_->signal(number); }

private:
  std::shared_ptr<process> process_;
};

std::unique_ptr<child> watch(loop& on, std::shared_ptr<process> p) {
  if (on.on_thread())
    p->watch(on);
  else
    on.post([&on, p] { p->watch(on); });
  return std::make_unique<watched_child>(std::move(p));
}

outcome<started> fork_exec_on(loop& on, const child_spec& spec) {
  if (on.on_thread()) return fork_exec(spec);
  auto task = std::make_shared<std::packaged_task<outcome<started>()>>([&spec] { return fork_exec(spec); });
  auto result = task->get_future();
  on.post([task = std::move(task)] { (*task)(); });
  try {
    return result.get();
  } catch (const std::future_error&) {
    return fail(fault::internal, "The loop of " + spec.command.front() + " has ended");
  }
}

bool has_ended(int pidfd) {
  pollfd p{pidfd, POLLIN, 0};
  return ::poll(&p, 1, 0) > 0;
}

} // namespace

outcome<std::unique_ptr<child>> spawn(loop& on, const child_spec& spec, std::function<void(child_exit)> ended) {
  auto made = spec.die_with_daemon ? fork_exec_on(on, spec) : fork_exec(spec);
  if (!made) return tl::unexpected{made.error()};
  return watch(on, std::make_shared<process>(made->pid, std::move(made->pidfd), true, std::move(ended)));
}

outcome<std::unique_ptr<child>> adopt(loop& on, pid_t pid, uint64_t start_time, std::function<void()> ended) {
  unique_fd pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  // The start time is read after the pidfd is open: what it names had this pid then, and still has it now.
  if (!pidfd || start_time == 0 || process_start_time(pid) != start_time || has_ended(pidfd.get()))
    return fail(fault::not_found, "The process " + std::to_string(pid) + " is gone");
  return watch(on, std::make_shared<process>(pid, std::move(pidfd), false, [call = std::move(ended)](child_exit) {
                 if (call) call();
               }));
}

uint64_t process_start_time(pid_t pid) {
  unique_fd stat{::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC)};
  char text[4096];
  auto length = stat ? ::read(stat.get(), text, sizeof text) : 0;
  std::string_view rest{text, static_cast<size_t>(std::max<ssize_t>(length, 0))};
  // The name, field 2, may contain anything, also ")"; what follows the last one is field 3.
  auto name_end = rest.rfind(')');
  if (name_end == std::string_view::npos) return 0;
  rest.remove_prefix(name_end + 1);
  for (int field = 3; field <= 22; ++field) { // each is preceded by one blank
    auto blank = rest.find(' ');
    if (blank == std::string_view::npos) return 0;
    rest.remove_prefix(blank + 1);
  }
  uint64_t ticks = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), ticks);
  return ticks;
}

} // namespace troupe
