#include "backends/instance/lxc/helper/exec_keeper.hpp"
#include "backends/instance/lxc/helper/jobs.hpp"
#include "backends/instance/lxc/helper/root_view.hpp"
#include "backends/instance/lxc/proc_facts.hpp"
#include "messages/config_map.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <lxc/attach_options.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

/// For the way to the command's first instruction, on which file systems of the instance's own may hang. Shorter than
/// the job's, which would not end the command.
constexpr int start_patience_ms = 20'000;
constexpr int enter_tries = 5;

enum class stage : int { chdir, exec };

/// Why the command did not start; written by the process inside to a pipe that a successful exec closes.
struct start_failure {
  stage where;
  int number;
};

/// What the process inside needs, prepared before the fork.
struct command_line {
  std::vector<std::string> words, variables;
  std::vector<char*> argv, envp;
  std::string cwd;
  int report = -1;
  int go[2] = {-1, -1}; // a byte in it lets the command begin

  explicit command_line(schema::ExecJob::Reader request)
      : words{to_vector(request.getCommand())}, cwd{text(request.getCwd())} {
    for (auto variable : request.getEnvironment()) {
      variables.push_back(text(variable.getKey()) + "=" + text(variable.getValue()));
    }
    for (auto& w : words) argv.push_back(w.data());
    for (auto& v : variables) envp.push_back(v.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
  }
};

/// Runs inside the container, as the wanted user. Never returns on success.
int become_command(void* data) {
  auto& line = *static_cast<command_line*>(data);
  char go = 0;
  ::close(line.go[1]);
  if (::read(line.go[0], &go, 1) != 1) return 126; // liblxc says that we are not here
  start_failure failure{stage::chdir, 0};
  auto fail_with = [&](stage where, int status) {
    failure = {where, errno};
    [[maybe_unused]] auto n = ::write(line.report, &failure, sizeof failure);
    return status;
  };
  ::setsid(); // fails when a terminal has already made it a session leader
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL); // nobody could end it, or tell how it ended, without the job
  if (line.cwd.empty()) {
    if (::chdir("/root") < 0 && ::chdir("/") < 0) return fail_with(stage::chdir, 126);
  } else if (::chdir(line.cwd.c_str()) < 0) {
    return fail_with(stage::chdir, 126);
  }
  // execvp looks into the environment it is going to have; without PATH it falls back to /bin:/usr/bin.
  environ = line.envp.data();
  ::execvp(line.argv[0], line.argv.data());
  return fail_with(stage::exec, errno == ENOENT ? 127 : 126);
}

constexpr uint32_t tty_group = 5;

struct pty_pair {
  unique_fd master, slave;
};

outcome<pty_pair> open_pty(lxc_container* c, schema::ExecJob::Reader request) {
  unique_fd devpts{c->devpts_fd(c)};
  if (!devpts) return fail(fault::backend_failed, "liblxc does not give the instance's devpts");
  pty_pair pty;
  pty.master = unique_fd{::openat(devpts.get(), "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)};
  int unlock = 0;
  if (!pty.master || ::ioctl(pty.master.get(), TIOCSPTLCK, &unlock) < 0)
    return fail_errno(errno, "Cannot open a terminal in the instance");
  pty.slave = unique_fd{::ioctl(pty.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)};
  if (!pty.slave) return fail_errno(errno, "Cannot open a terminal in the instance");
  auto ids = maps_of_process(c->init_pid(c));
  if (::fchown(pty.slave.get(), host_id(ids.uids, request.getUid()), host_id(ids.gids, tty_group)) < 0)
    return fail_errno(errno, "Cannot hand the terminal to the user");
  winsize size{};
  size.ws_col = request.getWidth();
  size.ws_row = request.getHeight();
  if (size.ws_col > 0 && size.ws_row > 0) ::ioctl(pty.master.get(), TIOCSWINSZ, &size);
  return pty;
}

/// The ends of what records, and what the command writes into instead of the files.
outcome<void> connect_recordings(job_context& job, kept_command& kept) {
  for (int stream : {1, 2}) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "Cannot make a pipe");
    kept.ends[stream].reset(ends[0]);
    kept.recordings[stream] = std::exchange(job.fds[stream], unique_fd{ends[1]});
  }
  return {};
}

outcome<kept_command> what_is_kept(job_context& job, schema::ExecJob::Reader request) {
  kept_command kept;
  kept.operation = text(request.getOperation());
  auto note = request.getNote();
  kept.note.assign(reinterpret_cast<const char*>(note.begin()), note.size());
  kept.attended = !request.getUnattended();
  kept.record = request.getRecord();
  if (request.getInteractive()) return kept;
  size_t next = 3;
  for (int stream = 0; stream < 3; ++stream)
    if ((request.getEnds() & (1 << stream)) && next < job.fds.size()) kept.ends[stream] = std::move(job.fds[next++]);
  if (kept.record > 0)
    if (auto made = connect_recordings(job, kept); !made) return tl::unexpected{made.error()};
  return kept;
}

/// Under a seccomp policy that asks a supervisor, liblxc's attach fails now and then for no lasting reason, at a moment
/// when the process inside may be there already. That one is told nothing and ends; only the one that liblxc reports
/// becomes the command.
outcome<pid_t> enter(lxc_container* c, command_line& line, lxc_attach_options_t& options) {
  for (int tries = 0; tries < enter_tries; ++tries) {
    if (::pipe2(line.go, O_CLOEXEC) < 0) return fail_errno(errno, "Cannot make a pipe");
    unique_fd read_end{line.go[0]}, write_end{line.go[1]};
    pid_t command = -1;
    if (c->attach(c, become_command, &line, &options, &command) < 0 || command <= 0) continue;
    if (::write(write_end.get(), "g", 1) == 1) return command;
  }
  return fail(fault::backend_failed, "liblxc could not enter the instance");
}

outcome<void> check_started(int report, const command_line& line) {
  pollfd told{report, POLLIN, 0};
  int n = 0;
  while ((n = ::poll(&told, 1, start_patience_ms)) < 0 && errno == EINTR) {
  }
  if (n == 0) return fail(fault::timed_out, "The command does not start: a file system of the instance hangs");
  start_failure failure{};
  if (::read(report, &failure, sizeof failure) != sizeof failure || failure.where == stage::exec) return {};
  return fail(fault::invalid, "The instance has no working directory " + (line.cwd.empty() ? "/" : line.cwd));
}

} // namespace

outcome<void> run_exec(job_context& job, schema::ExecJob::Reader request) {
  auto opened = open_container(job);
  if (!opened) return tl::unexpected{opened.error()};
  auto* c = opened->get();
  bool interactive = request.getInteractive();
  if (request.getCommand().size() == 0) return fail(fault::invalid, "The command is empty");
  if (!interactive && job.fds.size() < 3) return fail(fault::internal, "The command's descriptors are missing");
  auto kept = what_is_kept(job, request);
  if (!kept) return tl::unexpected{kept.error()};
  command_line line{request};
  pty_pair pty;
  if (interactive) {
    auto made = open_pty(c, request);
    if (!made) return tl::unexpected{made.error()};
    pty = std::move(*made);
  }
  int report[2];
  if (::pipe2(report, O_CLOEXEC) < 0) return fail_errno(errno, "Cannot make a pipe");
  unique_fd report_read{report[0]}, report_write{report[1]};
  line.report = report_write.get();

  lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
  options.env_policy = LXC_ATTACH_CLEAR_ENV;
  options.uid = request.getUid();
  options.gid = request.getGid();
  options.stdin_fd = interactive ? pty.slave.get() : job.fds[0].get();
  options.stdout_fd = interactive ? pty.slave.get() : job.fds[1].get();
  options.stderr_fd = interactive ? pty.slave.get() : job.fds[2].get();
  char root[] = "/";
  options.initial_cwd = root;
  auto entered = enter(c, line, options);
  if (!entered) return tl::unexpected{entered.error()};
  auto command = *entered;
  // From here only the command holds its descriptors: their end must be its end.
  report_write.reset();
  job.fds.clear();
  pty.slave.reset();
  auto told = answer::make([](schema::HelperAnswer::Builder a) { a.setRunning(); });
  kept->pid = command;
  kept->pty = std::move(pty.master);
  auto terminal = kept->pty.get();
  exec_keeper keeper{job, std::move(*kept)};
  auto started = keeper.open_socket(); // while the command is on its way to its first instruction
  if (started) started = check_started(report_read.get(), line);
  if (!started) {
    ::kill(command, SIGKILL);
    ::waitpid(command, nullptr, 0);
    return started;
  }
  ::alarm(0); // only its beginning is bounded
  // A daemon that has gone meanwhile is noticed as at any other time.
  static_cast<void>(interactive ? send_message(job.socket, told, std::array{terminal})
                                : send_message(job.socket, told));
  return keeper.run();
}

} // namespace troupe::lxc
