// troupe-lxc: the only program that links liblxc. It waits on the daemon's socket (descriptor 3); every message carries
// one end of a job's socketpair, for which it forks a child. It has no threads and never blocks on a job, so a fork is
// cheap, and the monitors of containers share this process's memory. It ends when the daemon closes the socket; jobs
// and monitors live on.

#include "backends/instance/lxc/helper/jobs.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr int daemon_socket = 3;

/// -1: the daemon has gone; -2: nothing usable, go on.
int receive_job() {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  auto n = ::recvmsg(daemon_socket, &header, MSG_CMSG_CLOEXEC);
  if (n < 0 && errno == EINTR) return -2;
  if (n <= 0) return -1;
  auto* c = CMSG_FIRSTHDR(&header);
  if (c == nullptr || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) return -2;
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
  return fd;
}

} // namespace

int main(int argc, char** argv) {
  using namespace troupe::lxc;
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    auto text = liblxc_version() + "\n";
    return ::write(STDOUT_FILENO, text.data(), text.size()) < 0 ? 1 : 0;
  }
  if (argc != 2) return 64; // argv[1]: where a warm-up may look, the daemon's lxcpath
  // liblxc would run newuidmap and newgidmap, which insist on /etc/subuid; without them it writes the maps itself.
  ::setenv("PATH", "/nonexistent", 1);
  ::prctl(PR_SET_NAME, "troupe-lxc", 0, 0, 0);
  struct sigaction reap_by_kernel {};
  reap_by_kernel.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &reap_by_kernel, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  warm_up(argv[1]);
  for (;;) {
    int job = receive_job();
    if (job == -1) return 0;
    if (job < 0) continue;
    if (::fork() == 0) {
      ::close(daemon_socket);
      ::signal(SIGCHLD, SIG_DFL);
      ::_exit(run_job(job));
    }
    ::close(job); // a failed fork shows as a closed socket without an answer
  }
}
