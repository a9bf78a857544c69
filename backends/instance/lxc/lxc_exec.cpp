#include "backends/instance/lxc/lxc_exec.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

void lxc_exec::close_end(int stream) {
  send_message(socket_.get(), message<schema::HelperSignal>::make([&](schema::HelperSignal::Builder s) {
                 s.setClose(static_cast<uint8_t>(1 << stream));
               }));
}

void lxc_exec::forget() {
  send_message(socket_.get(),
               message<schema::HelperSignal>::make([](schema::HelperSignal::Builder s) { s.setForget(true); }));
}

outcome<void> lxc_console::signal(int) { return fail(fault::unsupported, "A console takes no signals"); }

outcome<void> lxc_console::resize(uint16_t width, uint16_t height) {
  send_message(socket_.get(), message<schema::HelperSignal>::make([&](schema::HelperSignal::Builder s) {
                 s.setWidth(width);
                 s.setHeight(height);
               }));
  return {};
}

namespace {

constexpr uint32_t visit_seconds = 10; // with a job that may have been stopped

/// A socket's name may be longer than the kernel takes: it is named through its folder.
outcome<unique_fd> call(const std::string& folder, const std::string& operation) {
  unique_fd dir{::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!dir) return fail_errno(errno, "Cannot open the folder of commands");
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  auto path = "/proc/self/fd/" + std::to_string(dir.get()) + "/" + operation;
  if (path.size() >= sizeof name.sun_path) return fail(fault::not_found, "There is no such command");
  path.copy(name.sun_path, path.size());
  unique_fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!socket) return fail_errno(errno, "Cannot make a socket");
  limit_waiting(socket.get(), visit_seconds); // also of connect
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0) return socket;
  if (errno != ECONNREFUSED && errno != ENOENT) return fail_errno(errno, "The command does not answer");
  ::unlinkat(dir.get(), operation.c_str(), 0); // nobody listens any more, and never will
  return fail(fault::not_found, "The command has ended");
}

/// The descriptors in the order of `Kept`.
unique_fd take_ends(uint8_t ends, std::vector<unique_fd>& from, found_exec& into) {
  if (ends == 0) return from.empty() ? unique_fd{} : std::move(from[0]);
  size_t at = 0;
  for (int i = 0; i < 3; ++i)
    if ((ends & (1 << i)) && at < from.size()) into.ends[i] = std::move(from[at++]);
  return {};
}

std::string bytes_of(capnp::Data::Reader data) { return {reinterpret_cast<const char*>(data.begin()), data.size()}; }

} // namespace

std::vector<std::string> list_execs(const std::string& lxcpath) {
  std::vector<std::string> out;
  std::error_code none;
  for (auto& entry : std::filesystem::directory_iterator{lxcpath + exec_sockets, none})
    out.push_back(entry.path().filename().string());
  return out;
}

outcome<found_exec> find_exec(const std::string& lxcpath, const std::string& operation, bool attend) {
  auto socket = call(lxcpath + exec_sockets, operation);
  if (!socket) return tl::unexpected{socket.error()};
  auto visit = message<schema::ExecVisit>::make([&](schema::ExecVisit::Builder v) { v.setAttend(attend); });
  if (auto sent = send_message(socket->get(), visit); !sent) return tl::unexpected{sent.error()};
  auto reply = next_answer(socket->get());
  if (!reply) return tl::unexpected{reply.error()};
  limit_waiting(socket->get(), 0);
  found_exec out;
  auto pty = reply->answer.read([&](schema::HelperAnswer::Reader a) -> outcome<unique_fd> {
    if (!a.isKept()) return fail(fault::internal, "The lxc helper gave a wrong answer");
    auto kept = a.getKept();
    out.note = bytes_of(kept.getNote());
    out.output = bytes_of(kept.getOutput());
    out.error = bytes_of(kept.getError());
    out.lost = kept.getLost();
    return take_ends(kept.getEnds(), reply->fds, out);
  });
  if (!pty) return tl::unexpected{pty.error()};
  out.session = std::make_unique<lxc_exec>(std::move(*socket), std::move(*pty));
  return out;
}

} // namespace troupe::lxc
