// The helpers of this folder's tests; *_test.cpp is what the build looks for.
#include "tests/net/playground.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <memory>
#include <nftables/libnftables.h>
#include <sched.h>
#include <sstream>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

namespace troupe::test {
namespace {

[[noreturn]] void become(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  _exit(127);
}

bool enter(pid_t within) {
  if (within == 0) return true;
  unique_fd space{open(("/proc/" + std::to_string(within) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC)};
  return space && setns(space.get(), CLONE_NEWNET) == 0;
}

} // namespace

void enter_own_network() {
  static const bool done = [] {
    // sysfs shows the network namespace it was mounted in: mount it anew, for this program only.
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return false;
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    if (mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) return false;
    ip("link set lo up");
    return true;
  }();
  REQUIRE(done);
}

run_result run(const std::vector<std::string>& command, pid_t within) {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  unique_fd from{ends[0]}, to{ends[1]};
  pid_t pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(to.get(), 1);
    dup2(to.get(), 2);
    if (!enter(within)) _exit(126);
    become(command);
  }
  to.reset();
  run_result out;
  char chunk[4096];
  for (ssize_t size; (size = read(from.get(), chunk, sizeof chunk)) > 0;) out.output.append(chunk, size);
  int status = 0;
  waitpid(pid, &status, 0);
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return out;
}

void ip(const std::string& words, pid_t within) {
  std::vector<std::string> command{"ip"};
  std::istringstream stream{words};
  for (std::string word; stream >> word;) command.push_back(word);
  auto result = run(command, within);
  INFO("ip " << words << ": " << result.output);
  REQUIRE(result.code == 0);
}

process::process(const std::vector<std::string>& command) : process{[&] { become(command); }} {}

process::process(const std::function<void()>& body) : pid_{fork()} {
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  body();
  _exit(0);
}

process::~process() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void process::signal(int number) const { REQUIRE(kill(pid_, number) == 0); }

bool process::running() const {
  siginfo_t facts{};
  return waitid(P_PID, static_cast<id_t>(pid_), &facts, WEXITED | WNOHANG | WNOWAIT) == 0 && facts.si_pid == 0;
}

guest::guest(const std::string& bridge, const std::string& host_name, const std::string& hwaddr)
    : host_name_{host_name} {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  unique_fd from{ends[0]}, to{ends[1]};
  holder_ = std::make_unique<process>([&] {
    char ready = unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
    if (write(to.get(), &ready, 1) == 1)
      for (;;) pause();
  });
  char ready = 0;
  REQUIRE(read(from.get(), &ready, 1) == 1);
  REQUIRE(ready == 'y');
  ip("link add " + host_name + " type veth peer name eth0 address " + hwaddr + " netns " + std::to_string(pid()));
  ip("link set " + host_name + " master " + bridge + " up");
  ip("link set lo up", pid());
  ip("link set eth0 up", pid());
}

guest::~guest() { run_result ignored = test::run({"ip", "link", "del", host_name_}); }

folder::folder() {
  std::filesystem::create_directories("/tmp/tr-net");
  char name[] = "/tmp/tr-net/XXXXXX";
  REQUIRE(mkdtemp(name) != nullptr);
  chmod(name, 0711);
  path_ = name;
}

folder::~folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  std::filesystem::remove("/tmp/tr-net", ignored); // when it was the last one
}

listener::listener(of what) {
  int protocol = what == of::links ? NETLINK_ROUTE : NETLINK_NETFILTER;
  fd_.reset(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  REQUIRE(fd_);
  sockaddr_nl local{};
  local.nl_family = AF_NETLINK;
  REQUIRE(bind(fd_.get(), reinterpret_cast<sockaddr*>(&local), sizeof local) == 0);
  std::vector<int> groups{NFNLGRP_NFTABLES};
  if (what == of::links)
    groups = {RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR,  RTNLGRP_IPV6_IFADDR,
              RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};
  for (int group : groups)
    REQUIRE(setsockopt(fd_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) == 0);
}

int listener::count() {
  int messages = 0;
  char buffer[32768];
  while (recv(fd_.get(), buffer, sizeof buffer, 0) > 0) ++messages;
  return messages;
}

std::string ruleset() {
  void* library = dlopen("libnftables.so.1", RTLD_NOW);
  REQUIRE(library != nullptr);
  auto find = [&]<class F>(F*, const char* name) { return reinterpret_cast<F*>(dlsym(library, name)); };
  auto* context = find(&nft_ctx_new, "nft_ctx_new")(NFT_CTX_DEFAULT);
  find(&nft_ctx_buffer_output, "nft_ctx_buffer_output")(context);
  int rc = find(&nft_run_cmd_from_buffer, "nft_run_cmd_from_buffer")(context, "list ruleset");
  std::string out = find(&nft_ctx_get_output_buffer, "nft_ctx_get_output_buffer")(context);
  find(&nft_ctx_free, "nft_ctx_free")(context);
  dlclose(library);
  REQUIRE(rc == 0);
  return out;
}

bool eventually(const std::function<bool()>& done) {
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  return true;
}

std::string read_file(const std::string& path) {
  std::ifstream stream{path};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

void write_file(const std::string& path, const std::string& content, mode_t mode) {
  std::ofstream{path} << content;
  chmod(path.c_str(), mode);
}

} // namespace troupe::test
