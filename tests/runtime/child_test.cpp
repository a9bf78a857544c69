#include "runtime/child.hpp"
#include "runtime/loop.hpp"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <fcntl.h>
#include <future>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace troupe;

namespace {

struct result {
  child_exit how;
  std::string output;
};

std::string read_all(int fd) {
  std::string all;
  char part[4096];
  for (ssize_t n = 0; (n = ::read(fd, part, sizeof part)) > 0;) all.append(part, static_cast<size_t>(n));
  return all;
}

/// Runs it to its end, with its output on a pipe.
result run(loop& l, child_spec spec) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  unique_fd reader{ends[0]}, writer{ends[1]};
  spec.descriptors.emplace_back(writer.get(), 1);
  std::promise<child_exit> ended;
  auto made = spawn(l, spec, [&](child_exit how) { ended.set_value(how); });
  if (!made) FAIL(made.error().message);
  writer.reset();
  auto output = read_all(reader.get());
  return {ended.get_future().get(), output};
}

child_spec script(std::string text) {
  child_spec spec;
  spec.command = {"/bin/sh", "-c", std::move(text)};
  spec.environment = {"PATH=/usr/bin:/bin"};
  return spec;
}

child_spec sleeper() {
  child_spec spec;
  spec.command = {"/bin/sleep", "1000"};
  return spec;
}

/// Waits, without reaping, for the end of a process that may not be ours.
void wait_for_end(int pidfd) {
  pollfd p{pidfd, POLLIN, 0};
  REQUIRE(::poll(&p, 1, -1) == 1);
}

unique_fd pidfd_of(pid_t pid) { return unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))}; }

template <class Work>
void on(loop& l, Work work) {
  std::packaged_task<void()> task{std::move(work)};
  l.post([&task] { task(); });
  task.get_future().get();
}

} // namespace

TEST_CASE("the exit code of a child is reported") {
  loop l{"child"};
  CHECK(run(l, script("exit 0")).how.code == 0);
  auto how = run(l, script("exit 37")).how;
  CHECK(how.code == 37);
  CHECK(how.signal == 0);
}

TEST_CASE("a child ended by a signal is reported as such") {
  loop l{"child"};
  CHECK(run(l, script("kill -9 $$")).how.signal == SIGKILL);
  std::promise<child_exit> ended;
  auto made = spawn(l, sleeper(), [&](child_exit how) { ended.set_value(how); });
  REQUIRE(made);
  (*made)->signal(SIGTERM);
  CHECK(ended.get_future().get().signal == SIGTERM);
  (*made)->signal(SIGTERM); // gone: harmless
}

TEST_CASE("a program that cannot be executed is an error of spawn, and leaves no process") {
  loop l{"child"};
  bool called = false;
  auto try_it = [&](std::vector<std::string> command) {
    child_spec spec;
    spec.command = std::move(command);
    auto made = spawn(l, spec, [&](child_exit) { called = true; });
    REQUIRE_FALSE(made);
    return made.error();
  };
  auto missing = try_it({"/nonexistent/program"});
  CHECK(missing.code == fault::not_found);
  CHECK(missing.message == "Cannot execute /nonexistent/program: No such file or directory");
  CHECK(try_it({"/etc/passwd"}).code == fault::backend_failed);
  CHECK(try_it({"true"}).code == fault::invalid);
  CHECK(try_it({}).code == fault::invalid);
  CHECK(try_it({"/bin/true", std::string{"a\0b", 3}}).code == fault::invalid);
  on(l, [&] { CHECK_FALSE(called); });
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
  CHECK(errno == ECHILD);
}

TEST_CASE("descriptors that make no sense are refused") {
  loop l{"child"};
  auto spec = script("true");
  spec.descriptors = {{0, 5}, {1, 5}};
  CHECK(spawn(l, spec, {}).error().code == fault::invalid);
  spec.descriptors = {{0, -1}};
  CHECK(spawn(l, spec, {}).error().code == fault::invalid);
  spec.descriptors = {{1000, 3}};
  CHECK(spawn(l, spec, {}).error().message == "Cannot pass the descriptors to /bin/sh: Bad file descriptor");
}

TEST_CASE("a child sees the given environment and no more") {
  loop l{"child"};
  child_spec spec;
  spec.command = {"/usr/bin/env"};
  spec.environment = {"A=1", "B=two words"};
  CHECK(run(l, spec).output == "A=1\nB=two words\n");
}

TEST_CASE("a child has exactly the descriptors named") {
  loop l{"child"};
  unique_fd leaked{::open("/etc/hostname", O_RDONLY)}; // without O_CLOEXEC, as some library might
  auto spec = script("for f in /proc/$$/fd/*; do echo $(basename $f) $(readlink $f); done; readlink /proc/$$/cwd");
  unique_fd zero{::open("/dev/zero", O_RDONLY | O_CLOEXEC)};
  spec.descriptors = {{zero.get(), 7}};
  auto output = run(l, spec).output;
  CHECK(output.find("0 /dev/null\n1 pipe:") == 0);
  CHECK(output.find("\n2 /dev/null\n") != std::string::npos);
  CHECK(output.find("\n7 /dev/zero\n") != std::string::npos);
  CHECK(std::count(output.begin(), output.end(), '\n') <= 6); // the shell has one of its own while it lists them
  CHECK(output.find("hostname") == std::string::npos);
  CHECK(output.substr(output.size() - 3) == "\n/\n");
}

TEST_CASE("descriptors may trade places") {
  loop l{"child"};
  unique_fd zero{::open("/dev/zero", O_RDONLY | O_CLOEXEC)}, full{::open("/dev/full", O_RDONLY | O_CLOEXEC)};
  auto spec = script("readlink /proc/$$/fd/$A; readlink /proc/$$/fd/$B");
  spec.environment.push_back("A=" + std::to_string(zero.get()));
  spec.environment.push_back("B=" + std::to_string(full.get()));
  spec.descriptors = {{zero.get(), full.get()}, {full.get(), zero.get()}};
  CHECK(run(l, spec).output == "/dev/full\n/dev/zero\n");
}

TEST_CASE("a child starts with no signal blocked or ignored, in a session of its own") {
  loop l{"child"};
  sigset_t some, before;
  sigemptyset(&some);
  sigaddset(&some, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &some, &before);
  auto old = ::signal(SIGPIPE, SIG_IGN);
  auto output = run(l, script("grep -E 'Sig(Blk|Ign)' /proc/self/status; "
                              "read -r a b c d e session rest < /proc/$$/stat; [ $session = $$ ] && echo own"))
                    .output;
  ::signal(SIGPIPE, old);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  CHECK(output == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nown\n");
  auto spec = script("read -r a b c d e session rest < /proc/$$/stat; echo $session");
  spec.new_session = false;
  CHECK(run(l, spec).output == std::to_string(::getsid(0)) + "\n");
}

TEST_CASE("a forgotten child lives on, ends unreported and is reaped") {
  loop l{"child"};
  std::atomic<bool> called = false;
  auto made = spawn(l, sleeper(), [&](child_exit) { called = true; });
  REQUIRE(made);
  auto pid = (*made)->pid();
  auto pidfd = pidfd_of(pid);
  made->reset();
  REQUIRE(::kill(pid, SIGKILL) == 0);
  wait_for_end(pidfd.get());
  while (process_start_time(pid) != 0) std::this_thread::yield(); // the loop reaps it
  on(l, [&] { CHECK_FALSE(called); });
}

TEST_CASE("a child may be destroyed by its own end") {
  loop l{"child"};
  std::promise<void> ended;
  std::unique_ptr<child> mine;
  on(l, [&] {
    mine = std::move(*spawn(l, script("exit 1"), [&](child_exit) {
      mine.reset();
      ended.set_value();
    }));
  });
  ended.get_future().wait();
  CHECK(mine == nullptr);
}

TEST_CASE("with die_with_daemon a child dies with the loop, without it lives on") {
  auto start = [](bool tied) {
    loop l{"child"};
    auto spec = sleeper();
    spec.die_with_daemon = tied;
    std::unique_ptr<child> made;
    std::thread{[&] { made = std::move(*spawn(l, spec, {})); }}.join(); // this thread's end must not matter
    auto pidfd = pidfd_of(made->pid());
    on(l, [] {});
    pollfd p{pidfd.get(), POLLIN, 0};
    CHECK(::poll(&p, 1, 0) == 0);
    return std::pair{std::move(made), std::move(pidfd)};
  };
  auto reap = [](int pidfd) {
    siginfo_t info{};
    REQUIRE(::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) == 0);
    return info.si_status;
  };
  auto tied = start(true);
  CHECK(reap(tied.second.get()) == SIGKILL);
  auto free = start(false);
  free.first->signal(SIGUSR1); // the pidfd outlives the loop
  CHECK(reap(free.second.get()) == SIGUSR1);
}

TEST_CASE("a running process is adopted by pid and start time, and its end is seen") {
  loop first{"first"}, second{"second"};
  auto made = spawn(first, sleeper(), {});
  REQUIRE(made);
  auto pid = (*made)->pid();
  auto started = process_start_time(pid);
  CHECK(started != 0);
  CHECK(adopt(second, pid, started + 1, {}).error().code == fault::not_found);
  CHECK(adopt(second, pid, 0, {}).error().code == fault::not_found);
  std::promise<void> ended;
  auto adopted = adopt(second, pid, started, [&] { ended.set_value(); });
  REQUIRE(adopted);
  CHECK((*adopted)->pid() == pid);
  (*adopted)->signal(SIGKILL);
  ended.get_future().wait();
  CHECK(adopt(second, pid, started, {}).error().code == fault::not_found);
}

TEST_CASE("the start time is read behind any process name") {
  CHECK(process_start_time(1) > 0);
  CHECK(process_start_time(0x7fffffff) == 0);
  auto before = process_start_time(::getpid());
  char name[16];
  ::pthread_getname_np(::pthread_self(), name, sizeof name);
  ::pthread_setname_np(::pthread_self(), "x) R 1 2 3 (y");
  CHECK(process_start_time(::getpid()) == before);
  ::pthread_setname_np(::pthread_self(), name);
}

TEST_CASE("many threads start children at once and each learns of its own") {
  loop l{"child"};
  std::atomic<int> wrong = 0, failed = 0;
  std::vector<std::thread> starters;
  for (int t = 0; t < 4; ++t)
    starters.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        std::promise<int> ended;
        child_spec spec;
        spec.command = {"/bin/sh", "-c", "exit " + std::to_string(t * 25 + i)};
        spec.die_with_daemon = i % 2 == 0;
        auto made = spawn(l, spec, [&](child_exit how) { ended.set_value(how.code); });
        if (!made)
          ++failed;
        else if (ended.get_future().get() != t * 25 + i)
          ++wrong;
      }
    });
  for (auto& s : starters) s.join();
  CHECK(wrong == 0);
  CHECK(failed == 0);
}
