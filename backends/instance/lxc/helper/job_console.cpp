#include "backends/instance/lxc/helper/jobs.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

void set_size(int terminal, uint16_t width, uint16_t height) {
  winsize size{};
  size.ws_col = width;
  size.ws_row = height;
  if (width > 0 && height > 0) ::ioctl(terminal, TIOCSWINSZ, &size);
}

struct terminal {
  unique_fd master, slave;
};

/// Raw from the start: nothing is echoed before liblxc has it.
outcome<terminal> open_terminal() {
  terminal made;
  made.master = unique_fd{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
  if (!made.master || ::unlockpt(made.master.get()) < 0) return fail_errno(errno, "Cannot open a terminal");
  made.slave = unique_fd{::ioctl(made.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)};
  termios raw{};
  if (!made.slave || ::tcgetattr(made.slave.get(), &raw) < 0) return fail_errno(errno, "Cannot open a terminal");
  ::cfmakeraw(&raw);
  ::tcsetattr(made.slave.get(), TCSANOW, &raw);
  ::fcntl(made.master.get(), F_SETFL, O_RDWR | O_NONBLOCK);
  return made;
}

/// The terminal's end of liblxc, in a process of its own: it returns when the console is given up. 1: it is taken.
[[noreturn]] void sit_down(const job_context& job, int slave) {
  ::signal(SIGPIPE, SIG_DFL);
  ::setsid();
  ::ioctl(slave, TIOCSCTTY, 0); // so that a change of its size is a signal to us, which liblxc passes on
  auto c = open_container(job);
  if (!c) ::_exit(1);
  ::_exit((*c)->console(c->get(), 0, slave, slave, slave, -1) == 0 ? 0 : 1);
}

/// Moves bytes between the terminal and the daemon's socket. What the daemon does not take is dropped, as on a serial
/// line: the monitor, and with it the instance, never waits for a reader.
class relay {
public:
  relay(int terminal, int data, int control, pid_t sitter, int sitter_end)
      : terminal_{terminal}, data_{data}, control_{control}, sitter_{sitter}, end_{sitter_end} {}

  outcome<void> run() {
    for (;;) {
      bool full = !input_.empty();
      std::array<pollfd, 4> watched{{{end_, POLLIN, 0},
                                     {terminal_, static_cast<short>(POLLIN | (full ? POLLOUT : 0)), 0},
                                     {full ? -1 : data_, POLLIN, 0},
                                     {control_, POLLIN, 0}}};
      if (::poll(watched.data(), watched.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return fail_errno(errno, "Cannot poll");
      }
      if (watched[1].revents & POLLIN) pass_output();
      if (watched[0].revents != 0) return {};
      if (watched[1].revents & POLLOUT) pass_input();
      if (watched[2].revents != 0) take_input();
      if (watched[3].revents != 0) obey();
    }
  }

private:
  void leave() {
    ::kill(sitter_, SIGKILL);
    data_ = control_ = -1;
  }

  void pass_output() {
    char buffer[16 << 10];
    for (int turn = 0; turn < 16; ++turn) {
      auto got = ::read(terminal_, buffer, sizeof buffer);
      if (got <= 0) return;
      if (data_ < 0) continue;
      if (::send(data_, buffer, static_cast<size_t>(got), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE) leave();
    }
  }
  void take_input() {
    char buffer[4096];
    auto got = ::recv(data_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return leave();
    input_.assign(buffer, static_cast<size_t>(got));
    pass_input();
  }
  void pass_input() {
    auto put = ::write(terminal_, input_.data(), input_.size());
    if (put > 0) input_.erase(0, static_cast<size_t>(put));
    if (put < 0 && errno != EAGAIN && errno != EINTR) input_.clear();
  }
  void obey() {
    auto request = receive_frame(control_);
    if (!request) return leave();
    message<schema::HelperSignal>::from_bytes(request->bytes).read([&](auto r) {
      set_size(terminal_, r.getWidth(), r.getHeight());
    });
  }

  int terminal_, data_, control_;
  pid_t sitter_;
  int end_;
  std::string input_;
};

} // namespace

outcome<void> run_console(job_context& job, schema::ConsoleJob::Reader request) {
  auto made = open_terminal();
  if (!made) return tl::unexpected{made.error()};
  set_size(made->master.get(), request.getWidth(), request.getHeight());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(errno, "Cannot make a socketpair");
  unique_fd ours{ends[0]}, theirs{ends[1]};
  pid_t sitter = ::fork();
  if (sitter < 0) return fail_errno(errno, "Cannot fork");
  if (sitter == 0) sit_down(job, made->slave.get());
  made->slave.reset();
  unique_fd end{static_cast<int>(::syscall(SYS_pidfd_open, sitter, 0))};
  auto told = answer::make([](schema::HelperAnswer::Builder a) { a.setRunning(); });
  auto sent = send_message(job.socket, told, std::array{theirs.get()});
  theirs.reset();
  ::alarm(0); // as long as somebody sits there
  if (sent && end) sent = relay{made->master.get(), ours.get(), job.socket, sitter, end.get()}.run();
  ::kill(sitter, SIGKILL);
  int status = 0;
  while (::waitpid(sitter, &status, 0) < 0 && errno == EINTR) {
  }
  if (!sent) return sent;
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0; // killed: the daemon's end was closed
  return send_message(job.socket, answer::make([&](schema::HelperAnswer::Builder a) { a.setEnded(code); }));
}

} // namespace troupe::lxc
