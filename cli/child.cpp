#include "cli/child.hpp"

#include "cli/interrupt.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace troupe {
namespace {

constexpr int grace_ms = 10'000;
constexpr size_t last_errors_bytes = 2000;

struct pipe_pair {
  unique_fd read, write;
};

outcome<pipe_pair> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "Cannot make a pipe");
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK); // ours only; the child's end blocks as it expects
  return pipe_pair{unique_fd{ends[0]}, unique_fd{ends[1]}};
}

std::vector<std::string> environment_of(const child_request& request) {
  auto out = request.environment;
  for (char** entry = environ; *entry; ++entry) {
    std::string_view ours = *entry;
    auto name = ours.substr(0, ours.find('=') + 1);
    bool replaced = std::any_of(request.environment.begin(), request.environment.end(),
                                [name](const std::string& theirs) { return theirs.starts_with(name); });
    if (!replaced) out.emplace_back(ours);
  }
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (auto& string : strings) out.push_back(string.data());
  out.push_back(nullptr);
  return out;
}

/// Signals as a program expects them: ours are blocked, SIGPIPE is ignored.
struct spawn_settings {
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t files;

  spawn_settings(int out, int err) {
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&files);
    sigset_t none, restored;
    sigemptyset(&none);
    sigemptyset(&restored);
    sigaddset(&restored, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &restored);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawn_file_actions_adddup2(&files, err, 2);
  }
  ~spawn_settings() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
  spawn_settings(const spawn_settings&) = delete;
  spawn_settings& operator=(const spawn_settings&) = delete;
};

/// A started child; killed with its group if nobody waited for it.
class running_child {
public:
  explicit running_child(pid_t pid) : pid_{pid}, ended_{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))} {}
  ~running_child() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGTERM);
    pollfd end{ended_.get(), POLLIN, 0};
    ::poll(&end, 1, grace_ms);
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  running_child(const running_child&) = delete;
  running_child& operator=(const running_child&) = delete;

  int ended() const noexcept { return ended_.get(); }
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

private:
  pid_t pid_;
  unique_fd ended_;
};

/// Takes what is there now; -1 at the end of the stream, so that nobody polls it again.
void drain(int& fd, std::string& into) {
  char buffer[16384];
  while (fd >= 0) {
    ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got > 0)
      into.append(buffer, static_cast<size_t>(got));
    else if (got < 0 && errno == EINTR)
      continue;
    else if (got < 0 && errno == EAGAIN)
      return;
    else
      fd = -1;
  }
}

void hand_out_lines(std::string& text, const child_request& request, child_result& result) {
  for (size_t end; (end = text.find_first_of("\r\n")) != std::string::npos; text.erase(0, end + 1)) {
    if (end == 0) continue;
    auto line = text.substr(0, end);
    if (request.on_error_line) request.on_error_line(line);
    result.last_errors += line + "\n";
  }
  if (result.last_errors.size() > last_errors_bytes)
    result.last_errors.erase(0, result.last_errors.size() - last_errors_bytes);
}

outcome<void> follow(running_child& child, int out, int err, const child_request& request, const interrupt& stop,
                     child_result& result) {
  std::string errors;
  for (bool ended = false; !ended;) {
    pollfd watched[] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {child.ended(), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
    if (::poll(watched, 4, -1) < 0 && errno != EINTR)
      return fail_errno(errno, "Cannot wait for " + request.arguments[0]);
    if (watched[3].revents) return fail(fault::cancelled, "Interrupted");
    ended = watched[2].revents != 0;
    drain(out, result.output); // after looking at `ended`: nothing is missed
    drain(err, errors);
    hand_out_lines(errors, request, result);
  }
  if (!errors.empty()) hand_out_lines(errors += "\n", request, result);
  return {};
}

} // namespace

outcome<child_result> run_child(const child_request& request, const interrupt& stop) {
  auto out = make_pipe();
  if (!out) return tl::unexpected{out.error()};
  auto err = make_pipe();
  if (!err) return tl::unexpected{err.error()};
  auto arguments = request.arguments;
  auto environment = environment_of(request);
  spawn_settings settings{out->write.get(), err->write.get()};
  pid_t pid = -1;
  int problem = ::posix_spawnp(&pid, arguments[0].c_str(), &settings.files, &settings.attributes,
                               pointers(arguments).data(), pointers(environment).data());
  if (problem != 0) return fail_errno(problem, "Cannot run " + arguments[0]);
  running_child child{pid};
  out->write.reset();
  err->write.reset();
  child_result result;
  if (auto done = follow(child, out->read.get(), err->read.get(), request, stop, result); !done)
    return tl::unexpected{done.error()};
  result.exit_code = child.wait();
  return result;
}

} // namespace troupe
