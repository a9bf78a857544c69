// troupe-proxy: passes connections from one side of an instance's border to the other, for one proxy device. It listens
// on one side, steps over, and connects there. It ends with the instance's init, whoever is there to tell it.
//
//   troupe-proxy WHOSE LEADER host|inside LISTEN CONNECT header|plain UID:GID:MODE RUN_UID:RUN_GID ID_BASE
//
// Descriptor 3 gets an empty line when it listens, or a line that says why it cannot.

#include "net/proxy/helper/forwarder.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

using namespace troupe;
using namespace troupe::proxy;

constexpr int ready = 3;
constexpr unsigned start_seconds = 30; // a folder of the instance's may hang, and the daemon waits for us

[[noreturn]] void give_up(const std::string& why) {
  auto line = why + "\n";
  if (::write(ready, line.data(), line.size()) < 0) ::_exit(2);
  ::_exit(1);
}

struct side {
  unique_fd net, mounts;
};

side open_side(const std::string& process) {
  auto open_space = [&](const char* name) {
    return unique_fd{::open(("/proc/" + process + "/ns/" + name).c_str(), O_RDONLY | O_CLOEXEC)};
  };
  side out{open_space("net"), open_space("mnt")};
  if (!out.net || !out.mounts) give_up("Cannot open the instance's namespaces");
  return out;
}

// Files matter only for a socket that has a path.
void step_to(const side& where, const proxy_address& address) {
  bool files = address.what == proxy_address::kind::unix_path;
  if (::setns(where.net.get(), CLONE_NEWNET) < 0 || (files && ::setns(where.mounts.get(), CLONE_NEWNS) < 0))
    give_up(std::string{"Cannot enter a namespace: "} + std::strerror(errno));
}

void drop_to(const char* ids) {
  unsigned uid = 0, gid = 0;
  if (std::sscanf(ids, "%u:%u", &uid, &gid) != 2) give_up("Malformed user");
  if (uid == 0 && gid == 0) return;
  if (::setgroups(0, nullptr) < 0 || ::setresgid(gid, gid, gid) < 0 || ::setresuid(uid, uid, uid) < 0)
    give_up(std::string{"Cannot become another user: "} + std::strerror(errno));
}

unique_fd watch_signals() {
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  sigaddset(&end, SIGINT);
  ::sigprocmask(SIG_BLOCK, &end, nullptr);
  return unique_fd{::signalfd(-1, &end, SFD_CLOEXEC | SFD_NONBLOCK)};
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 10) return 64;
  ::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_NAME, "troupe-proxy", 0, 0, 0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  auto signals = watch_signals();
  auto leader = static_cast<pid_t>(std::atoi(argv[2]));
  unique_fd alive{static_cast<int>(::syscall(SYS_pidfd_open, leader, 0))};
  if (!alive) give_up("The instance is not running any more");
  bool inside = std::strcmp(argv[3], "inside") == 0;
  auto listen = parse_endpoint(argv[4]), connect = parse_endpoint(argv[5]);
  if (!listen || !connect) give_up("Malformed address");
  owner_of_socket owner;
  if (std::sscanf(argv[7], "%u:%u:%o", &owner.uid, &owner.gid, &owner.mode) != 3) give_up("Malformed owner");
  auto base = static_cast<uint32_t>(std::strtoul(argv[9], nullptr, 10));
  ::alarm(start_seconds);
  unique_fd root; // the instance's
  if (inside && base > 0) {
    root.reset(::open(("/proc/" + std::to_string(leader) + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
    if (!root) give_up("Cannot open the instance's namespaces");
  }
  auto host = open_side("self"), instance = open_side(std::to_string(leader));
  step_to(inside ? instance : host, *listen);
  auto listeners = open_listeners(*listen, owner, root.get());
  if (!listeners) give_up(listeners.error().message);
  // Back, or over: with the files of that side, wherever this one's were.
  if (inside && listen->what == proxy_address::kind::unix_path && ::setns(host.mounts.get(), CLONE_NEWNS) < 0)
    give_up("Cannot come back from the instance");
  step_to(inside ? host : instance, *connect);
  drop_to(argv[8]);
  if (::write(ready, "\n", 1) != 1) return 1;
  ::alarm(0);
  ::close(ready);
  forwarder all{std::move(*listeners), *connect, std::strcmp(argv[6], "header") == 0};
  all.run(alive.get(), signals.get());
  return 0;
}
