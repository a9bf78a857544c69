#pragma once

#include "backends/instance/agent/agent_client.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace troupe::test {

inline bool readable(int fd, int milliseconds = 20'000) {
  pollfd it{fd, POLLIN, 0};
  return ::poll(&it, 1, milliseconds) == 1;
}

inline std::string read_to_end(int fd) {
  std::string out;
  std::array<char, 65536> buffer;
  for (;;) {
    if (!readable(fd)) return out + "<nothing more comes>";
    auto got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return out;
    out.append(buffer.data(), static_cast<size_t>(got));
  }
}

/// Reads until `what` has come.
inline std::string read_until(int fd, const std::string& what) {
  std::string out;
  std::array<char, 4096> buffer;
  while (out.find(what) == out.npos && readable(fd)) {
    auto got = ::read(fd, buffer.data(), buffer.size());
    if (got <= 0) break;
    out.append(buffer.data(), static_cast<size_t>(got));
  }
  return out;
}

inline unique_fd listen_at(const std::string& path) {
  ::unlink(path.c_str());
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  unique_fd out{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (::bind(out.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 || ::listen(out.get(), 1) != 0)
    throw std::runtime_error{"cannot listen at " + path};
  return out;
}

/// Stands where QEMU does: a socket for the daemon, a pair of sockets for the guest, and the bytes between them. What
/// nobody reads stays in the pair, as in a port.
class fake_port {
public:
  explicit fake_port(std::string path) : path_{std::move(path)} {
    int ends[2], wake[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 || ::pipe2(wake, O_CLOEXEC) != 0)
      throw std::runtime_error{"no port"};
    ours_.reset(ends[0]);
    guest_.reset(ends[1]);
    woken_.reset(wake[0]);
    wake_.reset(wake[1]);
    open();
  }
  ~fake_port() { close(); }

  int guest() const { return guest_.get(); }
  void open() {
    listener_ = listen_at(path_);
    thread_ = std::thread{[this] { serve(); }};
  }
  void close() {
    if (!thread_.joinable()) return;
    static_cast<void>(::write(wake_.get(), "w", 1));
    thread_.join();
    char byte = 0;
    static_cast<void>(::read(woken_.get(), &byte, 1));
    listener_.reset();
    ::unlink(path_.c_str());
  }

private:
  void serve() {
    for (;;) {
      pollfd waits[] = {{listener_.get(), POLLIN, 0}, {woken_.get(), POLLIN, 0}};
      ::poll(waits, 2, -1);
      if (waits[1].revents) return;
      unique_fd host{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      if (!relay(host.get())) return;
    }
  }
  bool relay(int host) {
    std::array<char, 65536> buffer;
    auto carry = [&](int from, int to) {
      auto got = ::read(from, buffer.data(), buffer.size());
      for (ssize_t put = 0; put < got;) {
        auto n = ::send(to, buffer.data() + put, static_cast<size_t>(got - put), MSG_NOSIGNAL);
        if (n <= 0) return false;
        put += n;
      }
      return got > 0;
    };
    for (;;) {
      // The guest's side may not read; then nothing is taken from the host either.
      pollfd waits[] = {
          {host, POLLIN, 0}, {ours_.get(), POLLIN, 0}, {woken_.get(), POLLIN, 0}, {ours_.get(), POLLOUT, 0}};
      bool writable = ::poll(&waits[3], 1, 0) == 1;
      waits[0].events = writable ? POLLIN : 0;
      ::poll(waits, writable ? 3 : 4, -1);
      if (waits[2].revents) return false;
      if (waits[0].revents && writable && !carry(host, ours_.get())) return true;
      if (waits[1].revents & POLLIN && !carry(ours_.get(), host)) return true;
    }
  }

  std::string path_;
  unique_fd ours_, guest_, woken_, wake_, listener_;
  std::thread thread_;
};

/// The real agent, as a process of this host.
class agent_process {
public:
  explicit agent_process(int port) {
    auto* folder = std::getenv("TROUPE_BIN");
    std::string program = std::string{folder != nullptr ? folder : "build/release/bin"} + "/troupe-agent";
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::dup2(port, 3);
    ::setpgid(0, 0);
    ::execl(program.c_str(), "troupe-agent", "--fd", "3", nullptr);
    ::_exit(127);
  }
  ~agent_process() { end(SIGKILL); }
  void end(int signal) {
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }

private:
  pid_t pid_ = 0;
};

/// What a client heard.
struct ears {
  std::mutex lock;
  std::condition_variable changed;
  int came = 0, went = 0;

  std::function<void(bool)> listen() {
    return [this](bool there) {
      std::lock_guard hold{lock};
      ++(there ? came : went);
      changed.notify_all();
    };
  }
  bool wait(int comings, int goings) {
    std::unique_lock hold{lock};
    return changed.wait_for(hold, std::chrono::seconds{20}, [&] { return came >= comings && went >= goings; });
  }
};

struct agent_world {
  std::string folder;
  ears heard;
  std::unique_ptr<fake_port> port;
  std::unique_ptr<agent_process> agent;
  std::unique_ptr<agent_clients> clients = make_agent_clients();
  std::shared_ptr<agent_client> client;

  explicit agent_world(bool with_agent = true) {
    char name[] = "/tmp/troupe-agent-test.XXXXXX";
    folder = ::mkdtemp(name);
    port = std::make_unique<fake_port>(folder + "/agent");
    if (with_agent) agent = std::make_unique<agent_process>(port->guest());
    client = clients->open(folder + "/agent", heard.listen());
    if (with_agent) REQUIRE(heard.wait(1, 0));
  }
  ~agent_world() {
    client.reset();
    agent.reset();
    port.reset();
    std::filesystem::remove_all(folder);
  }
};

struct output {
  std::string out, err;
  outcome<int> code = 0;
};

inline exec_plan command(std::vector<std::string> words) {
  exec_plan plan;
  plan.command = std::move(words);
  plan.environment = {{"PATH", "/bin:/usr/bin"}};
  for (auto& f : plan.stdio) f = unique_fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  return plan;
}

inline unique_fd pipe_to(unique_fd& end, bool theirs_reads) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  end.reset(ends[theirs_reads ? 0 : 1]);
  return unique_fd{ends[theirs_reads ? 1 : 0]};
}

inline output execute(agent_client& with, exec_plan plan) {
  auto out = pipe_to(plan.stdio[1], false), err = pipe_to(plan.stdio[2], false);
  auto session = with.exec(std::move(plan));
  output result;
  if (!session) {
    result.code = tl::unexpected{session.error()};
    return result;
  }
  result.out = read_to_end(out.get());
  result.err = read_to_end(err.get());
  REQUIRE(readable((*session)->done_fd()));
  result.code = (*session)->result();
  return result;
}

} // namespace troupe::test
