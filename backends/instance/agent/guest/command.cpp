#include "backends/instance/agent/guest/command.hpp"

#include "messages/config_map.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace troupe::guest {
namespace {

enum class stage : int { prepare, chdir, exec };
struct start_failure {
  stage where;
  int number;
};
static_assert(sizeof(start_failure) == report_bytes);

constexpr gid_t terminals_group = 5; // everywhere

/// What the process needs, prepared before the fork.
struct command_line {
  std::vector<std::string> words, variables;
  std::vector<char*> argv, envp;
  std::string cwd, home;
  uid_t uid;
  gid_t gid;

  explicit command_line(Plan::Reader plan)
      : words{to_vector(plan.getCommand())}, cwd{text(plan.getCwd())}, uid{plan.getUid()}, gid{plan.getGid()} {
    auto environment = to_map(plan.getEnvironment());
    environment.emplace("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if (uid == 0) environment.emplace("HOME", "/root"), environment.emplace("USER", "root");
    environment.emplace("LANG", "C.UTF-8");
    if (plan.getInteractive()) environment.emplace("TERM", "linux");
    home = get(environment, "HOME", "/");
    for (auto& [key, value] : environment) variables.push_back(key + "=" + value);
    for (auto& w : words) argv.push_back(w.data());
    for (auto& v : variables) envp.push_back(v.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
  }
};

struct pipe_ends {
  unique_fd read, write;
};
outcome<pipe_ends> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "Cannot make a pipe");
  return pipe_ends{unique_fd{ends[0]}, unique_fd{ends[1]}};
}

/// The other ends: what the command has as 0, 1, 2.
struct command_ends {
  unique_fd fd[3];
};

outcome<command_ends> open_terminal(begun_command& ours, Plan::Reader plan) {
  ours.output.reset(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  int unlock = 0, number = 0;
  if (!ours.output || ::ioctl(ours.output.get(), TIOCSPTLCK, &unlock) < 0 ||
      ::ioctl(ours.output.get(), TIOCGPTN, &number) < 0)
    return fail_errno(errno, "Cannot open a terminal in the instance");
  command_ends theirs;
  theirs.fd[0].reset(::open(("/dev/pts/" + std::to_string(number)).c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!theirs.fd[0] || ::fchown(theirs.fd[0].get(), plan.getUid(), terminals_group) < 0 ||
      ::fchmod(theirs.fd[0].get(), 0620) < 0)
    return fail_errno(errno, "Cannot hand the terminal to the user");
  winsize size{};
  size.ws_col = plan.getWidth();
  size.ws_row = plan.getHeight();
  if (size.ws_col > 0 && size.ws_row > 0) ::ioctl(ours.output.get(), TIOCSWINSZ, &size);
  return theirs;
}

outcome<command_ends> open_pipes(begun_command& ours) {
  command_ends theirs;
  auto in = make_pipe(), out = make_pipe(), err = make_pipe();
  for (auto* each : {&in, &out, &err})
    if (!*each) return tl::unexpected{each->error()};
  theirs.fd[0] = std::move(in->read);
  theirs.fd[1] = std::move(out->write);
  theirs.fd[2] = std::move(err->write);
  ours.input = std::move(in->write);
  ours.output = std::move(out->read);
  ours.error = std::move(err->read);
  return theirs;
}

/// In the new process. Never returns.
[[noreturn]] void become_command(command_line& line, const command_ends& ends, bool interactive, int report) {
  auto fail_with = [&](stage where, int status) {
    start_failure failure{where, errno};
    [[maybe_unused]] auto n = ::write(report, &failure, sizeof failure);
    ::_exit(status);
  };
  reset_signals();
  ::setsid();
  if (interactive) ::ioctl(ends.fd[0].get(), TIOCSCTTY, 0);
  // Above 2, so that none is overwritten before it is copied.
  int from[3];
  for (int i = 0; i < 3; ++i) from[i] = ::fcntl(ends.fd[interactive ? 0 : i].get(), F_DUPFD_CLOEXEC, 3);
  for (int i = 0; i < 3; ++i)
    if (::dup2(from[i], i) < 0) fail_with(stage::prepare, 126);
  ::umask(022);
  if (::setgroups(0, nullptr) < 0 || ::setresgid(line.gid, line.gid, line.gid) < 0 ||
      ::setresuid(line.uid, line.uid, line.uid) < 0)
    fail_with(stage::prepare, 126);
  if (line.cwd.empty()) {
    if (::chdir(line.home.c_str()) < 0 && ::chdir("/") < 0) fail_with(stage::chdir, 126);
  } else if (::chdir(line.cwd.c_str()) < 0) {
    fail_with(stage::chdir, 126);
  }
  environ = line.envp.data();
  ::execvp(line.argv[0], line.argv.data());
  fail_with(stage::exec, errno == ENOENT ? 127 : 126);
  ::_exit(126);
}

int status_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

} // namespace

outcome<begun_command> begin_command(kj::UnixEventPort& port, Plan::Reader plan) {
  if (plan.getCommand().size() == 0) return fail(fault::invalid, "The command is empty");
  command_line line{plan};
  begun_command ours;
  auto theirs = plan.getInteractive() ? open_terminal(ours, plan) : open_pipes(ours);
  if (!theirs) return tl::unexpected{theirs.error()};
  auto report = make_pipe();
  if (!report) return tl::unexpected{report.error()};
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "Cannot fork");
  if (pid == 0) become_command(line, *theirs, plan.getInteractive(), report->write.get());
  ours.process = kj::heap<child>(port, pid);
  ours.report = std::move(report->read);
  return ours;
}

outcome<void> why_not(kj::ArrayPtr<const kj::byte> report, Plan::Reader plan) {
  start_failure failure{};
  if (report.size() != sizeof failure) return {};
  std::memcpy(&failure, report.begin(), sizeof failure);
  switch (failure.where) {
    case stage::exec:
      return {};
    case stage::chdir:
      return fail(fault::invalid, "The instance has no working directory " + text(plan.getCwd()));
    case stage::prepare:
      break;
  }
  return fail_errno(failure.number, "Cannot become user " + std::to_string(plan.getUid()));
}

command::command(kj::UnixEventPort& port, begun_command begun, bool interactive, ByteStream::Client output,
                 ByteStream::Client error)
    : process_{kj::mv(begun.process)}, interactive_{interactive}, output_{std::make_shared<loop_fd>(
                                                                      port, std::move(begun.output))} {
  input_ = interactive ? output_ : std::make_shared<loop_fd>(port, std::move(begun.input));
  senders_.push_back(std::make_unique<fd_sender>(output_, kj::mv(output)));
  if (!interactive)
    senders_.push_back(
        std::make_unique<fd_sender>(std::make_shared<loop_fd>(port, std::move(begun.error)), kj::mv(error)));
  auto sent = kj::heapArrayBuilder<kj::Promise<void>>(senders_.size());
  // A receiver that is gone takes nothing more: the command notices, or ends some day.
  for (auto& each : senders_) sent.add(each->run().catch_([](kj::Exception&&) {}).eagerlyEvaluate(nullptr));
  sent_ = kj::joinPromises(sent.finish()).fork();
  ended_ = follow().fork();
  if (interactive) process_->let_go(); // its terminal goes instead
}

command::~command() noexcept(false) {
  if (interactive_) output_->close();
}

kj::Promise<int> command::follow() {
  return process_->ended().then([this](int status) {
    for (auto& each : senders_) each->finish();
    return sent_.addBranch().then([status] { return status_of(status); });
  });
}

ByteStream::Client command::input() { return kj::heap<fd_receiver>(input_, interactive_); }

kj::Promise<void> command::wait(WaitContext context) {
  context.allowCancellation();
  return ended_.addBranch().then([context](int status) mutable { context.getResults().setStatus(status); });
}

kj::Promise<void> command::signal(SignalContext context) {
  process_->signal(context.getParams().getNumber());
  return kj::READY_NOW;
}

kj::Promise<void> command::resize(ResizeContext context) {
  winsize size{};
  size.ws_col = context.getParams().getWidth();
  size.ws_row = context.getParams().getHeight();
  if (interactive_) ::ioctl(output_->get(), TIOCSWINSZ, &size);
  return kj::READY_NOW;
}

} // namespace troupe::guest
