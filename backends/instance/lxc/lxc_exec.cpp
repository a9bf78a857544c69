#include "backends/instance/lxc/lxc_exec.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/ioctl.h>

namespace troupe::lxc {

lxc_exec::lxc_exec(unique_fd socket, unique_fd pty) : socket_{std::move(socket)}, pty_{std::move(pty)} {}

outcome<int> lxc_exec::result() {
  // Who polled for it may have made it non-blocking; the answer's first bytes are there, so the rest is too in a
  // moment.
  ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) & ~O_NONBLOCK);
  auto reply = next_answer(socket_.get());
  if (!reply) return tl::unexpected{reply.error()};
  return reply->answer.read([](auto a) -> outcome<int> {
    if (a.isEnded()) return a.getEnded();
    return fail(fault::internal, "The lxc helper gave a wrong answer");
  });
}

outcome<void> lxc_exec::signal(int number) {
  if (number < 1 || number > SIGRTMAX) return fail(fault::invalid, "There is no signal " + std::to_string(number));
  auto request = message<schema::HelperSignal>::make([&](schema::HelperSignal::Builder s) { s.setNumber(number); });
  // A command that has ended takes no signals; the caller learns of its end by done_fd.
  send_message(socket_.get(), request);
  return {};
}

outcome<void> lxc_exec::resize(uint16_t width, uint16_t height) {
  if (!pty_) return fail(fault::wrong_state, "The command has no terminal");
  winsize size{};
  size.ws_col = width;
  size.ws_row = height;
  if (::ioctl(pty_.get(), TIOCSWINSZ, &size) < 0) return fail_errno(errno, "Cannot resize the terminal");
  return {};
}

outcome<void> lxc_console::signal(int) { return fail(fault::unsupported, "A console takes no signals"); }

outcome<void> lxc_console::resize(uint16_t width, uint16_t height) {
  send_message(socket_.get(), message<schema::HelperSignal>::make([&](schema::HelperSignal::Builder s) {
                 s.setWidth(width);
                 s.setHeight(height);
               }));
  return {};
}

} // namespace troupe::lxc
