#include "tests/backends/lxc_fixture.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

using namespace troupe;
using namespace troupe::test;

namespace {

struct running : lxc_world {
  explicit running(const std::string& part) : lxc_world{part} {
    auto started = driver->start(plan());
    if (!started) throw std::runtime_error{started.error().message};
    run = std::move(*started);
  }
  ~running() {
    driver->kill("c1", run.leader);
    readable(run.monitor_pidfd.get());
  }
  boot_result run;
};

struct output {
  std::string out, err;
  outcome<int> code = 0;
};

exec_plan command(std::vector<std::string> words) {
  exec_plan plan;
  plan.command = std::move(words);
  plan.environment = {{"PATH", "/bin:/sbin"}};
  for (auto& f : plan.stdio) f = unique_fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  return plan;
}

output execute(running& world, exec_plan plan) {
  int out[2], err[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(err, O_CLOEXEC) == 0);
  unique_fd out_end{out[0]}, err_end{err[0]};
  plan.stdio[1].reset(out[1]);
  plan.stdio[2].reset(err[1]);
  auto session = world.driver->exec("c1", world.run.leader, std::move(plan));
  output result;
  if (!session) {
    result.code = tl::unexpected{session.error()};
    return result;
  }
  result.out = read_all(out_end.get());
  result.err = read_all(err_end.get());
  REQUIRE(readable((*session)->done_fd()));
  result.code = (*session)->result();
  return result;
}

std::string read_until(int fd, const std::string& what) {
  std::string text;
  char part[512];
  while (text.find(what) == text.npos && readable(fd)) {
    auto n = ::read(fd, part, sizeof part);
    if (n <= 0) break;
    text.append(part, static_cast<size_t>(n));
  }
  return text;
}

} // namespace

TEST_CASE("a command has its own output, error, status, environment, user and directory", "[lxc]") {
  running world{"exec"};
  auto plan = command({"sh", "-c", "echo out; echo err >&2; exit 42"});
  auto both = execute(world, std::move(plan));
  CHECK(both.out == "out\n");
  CHECK(both.err == "err\n");
  CHECK(*both.code == 42);

  plan = command({"sh", "-c", "env; id -u; id -g; id -G; pwd"});
  plan.environment = {{"PATH", "/bin"}, {"NAME", "value"}};
  plan.uid = plan.gid = 1000;
  plan.cwd = "/tmp";
  auto user = execute(world, std::move(plan));
  CHECK(user.out.find("NAME=value\n") != std::string::npos);
  CHECK(user.out.find("LXC_") == std::string::npos);
  CHECK(user.out.find("container=") == std::string::npos);
  CHECK(user.out.ends_with("1000\n1000\n1000\n/tmp\n"));

  CHECK(*execute(world, command({"/no/such/program"})).code == 127);
  CHECK(*execute(world, command({"/etc/passwd"})).code == 126);
  CHECK(*execute(world, command({"sh", "-c", "kill -9 $$"})).code == 128 + SIGKILL);
  plan = command({"true"});
  plan.cwd = "/no/such/place";
  auto nowhere = execute(world, std::move(plan));
  REQUIRE_FALSE(nowhere.code);
  CHECK(nowhere.code.error().message.find("/no/such/place") != std::string::npos);
}

TEST_CASE("a command is confined to the container", "[lxc]") {
  running world{"confined"};
  auto seen = execute(
      world,
      command({"sh", "-c",
               "cat /proc/self/cgroup; grep Seccomp: /proc/self/status; cat /proc/self/uid_map; ls /proc/self/fd"}));
  INFO(seen.out);
  CHECK(seen.out.find(world.id) == std::string::npos); // a cgroup namespace of its own, and inside it
  CHECK(seen.out.find("..") == std::string::npos);
  CHECK(seen.out.find("2000000") != std::string::npos);
  CHECK(seen.out.find("\n3\n4\n") == std::string::npos); // 3 is ls's own
}

TEST_CASE("a command that cannot begin because of a file system of the container's own is given up", "[lxc]") {
  running world{"stuck"};
  int told[2];
  REQUIRE(::pipe2(told, O_CLOEXEC) == 0);
  unique_fd mounted{told[0]}, tell{told[1]};
  pid_t server = ::fork(); // serves a FUSE file system at /root, and answers nothing
  if (server == 0) {
    auto enter = [&](const char* what) {
      unique_fd space{::open(("/proc/" + std::to_string(world.run.leader) + "/ns/" + what).c_str(), O_RDONLY)};
      return ::setns(space.get(), 0) == 0;
    };
    bool inside = enter("user") && enter("mnt") && ::setresgid(0, 0, 0) == 0 && ::setresuid(0, 0, 0) == 0;
    int fuse = inside ? ::open("/dev/fuse", O_RDWR) : -1;
    auto options = "fd=" + std::to_string(fuse) + ",rootmode=40000,user_id=0,group_id=0";
    bool good = fuse >= 0 && ::mount("hang", "/root", "fuse", 0, options.c_str()) == 0;
    if (::write(tell.get(), good ? "y" : "n", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char answer = 0;
  REQUIRE(::read(mounted.get(), &answer, 1) == 1);
  if (answer == 'y') {
    auto stuck = execute(world, command({"true"}));
    REQUIRE_FALSE(stuck.code);
    CHECK(stuck.code.error().code == fault::timed_out);
    auto plan = command({"true"});
    plan.cwd = "/";
    CHECK(*execute(world, std::move(plan)).code == 0);
  } else {
    WARN("no FUSE here");
  }
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);
}

TEST_CASE("a signal reaches the command", "[lxc]") {
  running world{"signal"};
  int out[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  unique_fd reader{out[0]};
  auto plan = command({"sh", "-c", "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done"});
  plan.stdio[1].reset(out[1]);
  auto session = world.driver->exec("c1", world.run.leader, std::move(plan));
  REQUIRE(session);
  CHECK(read_until(reader.get(), "ready") == "ready\n");
  CHECK_FALSE((*session)->signal(0));
  REQUIRE((*session)->signal(SIGUSR1));
  REQUIRE(readable((*session)->done_fd()));
  CHECK(*(*session)->result() == 7);
  CHECK((*session)->signal(SIGUSR1)); // too late, harmless
}

TEST_CASE("a command dies when nobody holds its session any more", "[lxc]") {
  running world{"orphan"};
  int out[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  unique_fd reader{out[0]};
  auto plan = command({"sleep", "5000"});
  plan.stdio[1].reset(out[1]);
  auto session = world.driver->exec("c1", world.run.leader, std::move(plan));
  REQUIRE(session);
  session->reset();
  REQUIRE(readable(reader.get()));
  CHECK(read_all(reader.get()).empty()); // end of file: the only writer has gone
}

TEST_CASE("a command with an operation outlives its session, and the last of what it says is kept", "[lxc]") {
  running world{"outlives"};
  int out[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  auto plan = command({"sh", "-c", "yes | head -c 5000000; echo; echo last; exec sleep 5000"});
  plan.operation = "op1";
  plan.note = "what is known of it";
  plan.ends[1].reset(out[0]);
  plan.stdio[1].reset(out[1]);
  auto session = world.driver->exec("c1", world.run.leader, std::move(plan));
  REQUIRE(session);
  CHECK(world.driver->list_execs() == std::vector<std::string>{"op1"});
  session->reset();

  std::string text;
  while (!text.ends_with("last\n")) { // it may still be at it: who does not attend leaves it what it keeps
    auto look = world.driver->find_exec("op1", false);
    REQUIRE(look);
    CHECK(look->note == "what is known of it");
    text = look->output;
  }
  auto found = world.driver->find_exec("op1", true);
  REQUIRE(found);
  CHECK(found->output == text);
  CHECK(found->output.size() <= 1 << 20);
  CHECK(found->lost + found->output.size() == 5000006);
  CHECK(found->ends[1]);
  CHECK_FALSE(found->ends[0]);
  REQUIRE(found->session->signal(SIGTERM));
  REQUIRE(readable(found->session->done_fd()));
  CHECK(*found->session->result() == 128 + SIGTERM);

  found = world.driver->find_exec("op1", false); // its end is kept until it was taken note of
  REQUIRE(found);
  REQUIRE(readable(found->session->done_fd()));
  CHECK(*found->session->result() == 128 + SIGTERM);
  found->session->forget();
  REQUIRE(read_all(found->session->done_fd()).empty()); // its helper has ended
  CHECK(world.driver->list_execs().empty());
  CHECK(world.driver->find_exec("op1", true).error().code == fault::not_found);
}

TEST_CASE("a terminal that nobody reads holds its command not up, and a recording has its bound", "[lxc]") {
  running world{"unattended"};
  auto plan = command({"sh", "-c", "stty -onlcr; yes | head -c 3000000; echo ready; read x; exit 4"});
  plan.interactive = plan.unattended = true;
  plan.operation = "op2";
  auto session = world.driver->exec("c1", world.run.leader, std::move(plan));
  REQUIRE(session);
  std::string text;
  while (text.find("ready") == text.npos) text = world.driver->find_exec("op2", false)->output;
  auto found = world.driver->find_exec("op2", true);
  REQUIRE(found);
  CHECK(::write(found->session->pty(), "\n", 1) == 1);
  REQUIRE(readable(found->session->done_fd()));
  CHECK(*found->session->result() == 4);
  found->session->forget();

  auto recorded = command({"sh", "-c", "yes | head -c 300000; echo err >&2"});
  recorded.operation = "op3";
  recorded.record = 100000;
  auto path = (world.place / "recording").string();
  unique_fd out{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  recorded.stdio[1].reset(::dup(out.get()));
  auto running = world.driver->exec("c1", world.run.leader, std::move(recorded));
  REQUIRE(running);
  REQUIRE(readable((*running)->done_fd()));
  CHECK(*(*running)->result() == 0);
  (*running)->forget();
  CHECK(::lseek(out.get(), 0, SEEK_END) == 100000);
}

TEST_CASE("an interactive command has a terminal of the container", "[lxc]") {
  running world{"pty"};
  auto plan = command({"sh", "-c", "tty; stty size; ls -ln $(tty); read line; echo got $line; stty size; exit 3"});
  plan.interactive = true;
  plan.width = 90;
  plan.height = 30;
  auto session = world.driver->exec("c1", world.run.leader, std::move(plan));
  INFO((session ? "" : session.error().message));
  REQUIRE(session);
  int pty = (*session)->pty();
  REQUIRE(pty >= 0);
  auto first = read_until(pty, "/dev/pts/");
  first += read_until(pty, "30 90");
  CHECK(first.find("/dev/pts/") != std::string::npos);
  CHECK(first.find("30 90") != std::string::npos);
  REQUIRE((*session)->resize(100, 40));
  REQUIRE(::write(pty, "words\n", 6) == 6);
  auto rest = read_until(pty, "40 100");
  CHECK(rest.find("got words") != std::string::npos);
  CHECK(rest.find("40 100") != std::string::npos);
  REQUIRE(readable((*session)->done_fd()));
  CHECK(*(*session)->result() == 3);

  plan = command({"sh", "-c", "echo up; sleep 5000"});
  plan.interactive = true;
  auto ctrl_c = world.driver->exec("c1", world.run.leader, std::move(plan));
  REQUIRE(ctrl_c);
  read_until((*ctrl_c)->pty(), "up");
  REQUIRE(::write((*ctrl_c)->pty(), "\x03", 1) == 1); // the terminal makes it a SIGINT
  REQUIRE(readable((*ctrl_c)->done_fd()));
  CHECK(*(*ctrl_c)->result() == 128 + SIGINT);
}

TEST_CASE("the console has one seat, and what nobody reads holds nobody up", "[lxc]") {
  lxc_world world{"console"};
  auto started = world.driver->start(world.plan());
  REQUIRE(started);
  auto seat = world.driver->console("c1", 80, 24);
  REQUIRE(seat);
  int fd = (*seat)->pty();
  world.shell(started->leader, "echo first > /dev/console");
  std::string seen;
  while (seen.find("first") == seen.npos && readable(fd)) {
    char part[4096];
    auto got = ::read(fd, part, sizeof part);
    if (got <= 0) break;
    seen.append(part, static_cast<size_t>(got));
  }
  CHECK(seen.find("first") != seen.npos);
  auto second = world.driver->console("c1", 0, 0);
  REQUIRE(second);
  REQUIRE(readable((*second)->done_fd()));
  CHECK((*second)->result().value_or(0) != 0);
  int status = -1; // more than any buffer on the way holds
  world.shell(started->leader, "dd if=/dev/zero bs=65536 count=64 2>/dev/null > /dev/console", &status);
  CHECK(status == 0);
  CHECK(world.driver->console_log("c1", false));
  REQUIRE((*seat)->resize(100, 50));
  ::shutdown(fd, SHUT_RDWR);
  REQUIRE(readable((*seat)->done_fd()));
  CHECK((*seat)->result());
  auto third = world.driver->console("c1", 0, 0); // the seat is free again
  REQUIRE(third);
  pollfd end{(*third)->done_fd(), POLLIN, 0};
  world.shell(started->leader, "echo again > /dev/console");
  CHECK(readable((*third)->pty()));
  CHECK(::poll(&end, 1, 0) == 0);
}
