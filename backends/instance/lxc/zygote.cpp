#include "backends/instance/lxc/zygote.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

constexpr int helper_socket = 3; // as main_troupe_lxc.cpp expects it
constexpr int attempts_max = 3;
constexpr uint32_t grace_seconds = 2;

struct spawn_setup {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;

  explicit spawn_setup(int socket) {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    for (int fd = 0; fd < 3; ++fd) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, socket, helper_socket);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  }
  ~spawn_setup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  spawn_setup(const spawn_setup&) = delete;
  spawn_setup& operator=(const spawn_setup&) = delete;
};

struct pair {
  unique_fd ours, theirs;
};

outcome<pair> make_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return fail_errno(errno, "Cannot make a socketpair");
  return pair{unique_fd{fds[0]}, unique_fd{fds[1]}};
}

/// One byte with one descriptor. False: the other end has gone.
bool hand_over(int socket, int fd) {
  char byte = 'j';
  iovec part{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  auto* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  ssize_t n = 0;
  do n = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n == 1;
}

/// The byte with which a job shows that it exists; false: the socket was closed instead.
bool job_begins(int socket) {
  char byte = 0;
  ssize_t n = 0;
  do n = ::recv(socket, &byte, 1, 0);
  while (n < 0 && errno == EINTR);
  return n == 1;
}

} // namespace

zygote::zygote(std::string program, std::string lxcpath) : program_{std::move(program)}, lxcpath_{std::move(lxcpath)} {}

zygote::~zygote() { forget_locked(); }

pid_t zygote::pid() const {
  std::lock_guard hold{lock_};
  return pid_;
}

/// Closing the socket is what ends it; it has nothing to finish.
void zygote::forget_locked() {
  socket_.reset();
  if (pid_ > 0)
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  pid_ = 0;
}

outcome<void> zygote::start_locked() {
  auto sockets = make_pair();
  if (!sockets) return tl::unexpected{sockets.error()};
  // Above the number it gets in the child, so that dup2 makes a copy without close-on-exec.
  unique_fd theirs{::fcntl(sockets->theirs.get(), F_DUPFD_CLOEXEC, helper_socket + 1)};
  if (!theirs) return fail_errno(errno, "Cannot copy a descriptor");
  spawn_setup setup{theirs.get()};
  char* argv[] = {const_cast<char*>(program_.c_str()), const_cast<char*>(lxcpath_.c_str()), nullptr};
  char* envp[] = {nullptr};
  pid_t pid = 0;
  if (int problem = posix_spawn(&pid, program_.c_str(), &setup.actions, &setup.attributes, argv, envp); problem != 0)
    return fail(fault::backend_failed, "Cannot start " + program_ + ": " + std::strerror(problem));
  pid_ = pid;
  socket_ = std::move(sockets->ours);
  return {};
}

outcome<unique_fd> zygote::submit() {
  auto sockets = make_pair();
  if (!sockets) return tl::unexpected{sockets.error()};
  std::lock_guard hold{lock_};
  if (socket_ && hand_over(socket_.get(), sockets->theirs.get())) return std::move(sockets->ours);
  forget_locked();
  if (auto started = start_locked(); !started) return tl::unexpected{started.error()};
  if (hand_over(socket_.get(), sockets->theirs.get())) return std::move(sockets->ours);
  forget_locked();
  return fail(fault::backend_failed, "The lxc helper ended as soon as it was started");
}

outcome<job_reply> zygote::run(const job_request& request, std::span<const int> fds) {
  auto seconds = request.read([](auto r) { return r.getSeconds(); });
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    auto socket = submit();
    if (!socket) return tl::unexpected{socket.error()};
    if (!job_begins(socket->get())) continue; // the helper was killed with the job in its queue
    if (auto sent = send_message(socket->get(), request, fds); !sent) return tl::unexpected{sent.error()};
    if (seconds > 0) limit_waiting(socket->get(), seconds + grace_seconds); // it kills itself before, if it can
    auto reply = next_answer(socket->get());
    if (seconds > 0) limit_waiting(socket->get(), 0);
    if (reply) reply->socket = std::move(*socket);
    return reply;
  }
  return fail(fault::backend_failed, "The lxc helper cannot begin a job");
}

} // namespace troupe::lxc
