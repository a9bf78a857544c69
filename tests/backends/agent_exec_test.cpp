#include "tests/backends/agent_fixture.hpp"

#include <catch2/catch.hpp>
#include <sys/syscall.h>

using namespace troupe;
using namespace troupe::test;

TEST_CASE("an agent's command has its environment, user, folder and status", "[agent]") {
  agent_world world;
  auto plan = command({"sh", "-c", "id -u; id -g; pwd; echo $X; echo wrong >&2; exit 7"});
  plan.environment["X"] = "some thing";
  plan.uid = 1234;
  plan.gid = 4321;
  plan.cwd = "/usr";
  auto done = execute(*world.client, std::move(plan));
  CHECK(done.out == "1234\n4321\n/usr\nsome thing\n");
  CHECK(done.err == "wrong\n");
  REQUIRE(done.code);
  CHECK(*done.code == 7);

  done = execute(*world.client, command({"sh", "-c", "echo $HOME $USER $LANG; kill -9 $$"}));
  CHECK(done.out == "/root root C.UTF-8\n");
  CHECK(done.code == 137);
  CHECK(execute(*world.client, command({"no-such-program"})).code == 127);
  CHECK(execute(*world.client, command({"/etc/passwd"})).code == 126);

  auto lost = command({"true"});
  lost.cwd = "/no/such/folder";
  CHECK(execute(*world.client, std::move(lost)).code.error().code == fault::invalid);
  CHECK(execute(*world.client, command({})).code.error().code == fault::invalid);
}

TEST_CASE("an agent's command reads its input to the end", "[agent]") {
  agent_world world;
  auto plan = command({"sh", "-c", "wc -c; echo over"});
  auto in = pipe_to(plan.stdio[0], true), out = pipe_to(plan.stdio[1], false);
  auto session = world.client->exec(std::move(plan));
  REQUIRE(session);
  std::string bytes(3 << 20, '\xa7'); // what the line marks its hellos by
  std::thread writer{[&] {
    for (size_t at = 0; at < bytes.size();) {
      auto n = ::write(in.get(), bytes.data() + at, bytes.size() - at);
      if (n <= 0) break;
      at += static_cast<size_t>(n);
    }
    in.reset();
  }};
  CHECK(read_to_end(out.get()) == std::to_string(bytes.size()) + "\nover\n");
  writer.join();
  REQUIRE(readable((*session)->done_fd()));
  CHECK((*session)->result() == 0);
}

TEST_CASE("much output waits for a slow reader, and holds up nobody else", "[agent]") {
  agent_world world;
  constexpr size_t many = 20 << 20;
  auto plan = command({"sh", "-c", "head -c " + std::to_string(many) + " /dev/zero; echo end >&2"});
  auto out = pipe_to(plan.stdio[1], false);
  auto session = world.client->exec(std::move(plan));
  REQUIRE(session);
  for (int i = 0; i < 20; ++i) // beside it
    CHECK(execute(*world.client, command({"echo", "here"})).out == "here\n");
  CHECK_FALSE(readable((*session)->done_fd(), 0));
  CHECK(read_to_end(out.get()).size() == many);
  REQUIRE(readable((*session)->done_fd()));
  CHECK((*session)->result() == 0);
}

TEST_CASE("who stops reading a command's output ends its writing", "[agent]") {
  agent_world world;
  auto plan = command({"sh", "-c", "yes; echo $? >&2"});
  auto out = pipe_to(plan.stdio[1], false), err = pipe_to(plan.stdio[2], false);
  auto session = world.client->exec(std::move(plan));
  REQUIRE(session);
  char some[100];
  REQUIRE(::read(out.get(), some, sizeof some) > 0);
  out.reset();
  CHECK(read_to_end(err.get()).find("141") != std::string::npos); // SIGPIPE
  REQUIRE(readable((*session)->done_fd()));
}

TEST_CASE("an agent's command is not waited for by what it leaves behind", "[agent]") {
  agent_world world;
  auto done = execute(*world.client, command({"sh", "-c", "sleep 1000 & echo $!"}));
  CHECK(done.code == 0);
  ::kill(std::atoi(done.out.c_str()), SIGKILL);
}

TEST_CASE("a command with an agent's terminal", "[agent]") {
  agent_world world;
  exec_plan plan;
  plan.command = {"sh", "-c",
                  "stty size; echo $TERM; read x; echo got $x; trap 'stty size; exit 3' WINCH; echo ready; "
                  "while :; do sleep 0.05; done"};
  plan.environment = {{"PATH", "/bin:/usr/bin"}, {"TERM", "vt100"}};
  plan.interactive = true;
  plan.width = 91;
  plan.height = 33;
  auto session = world.client->exec(std::move(plan));
  REQUIRE(session);
  int terminal = (*session)->pty();
  REQUIRE(terminal >= 0);
  CHECK(read_until(terminal, "vt100\r\n") == "33 91\r\nvt100\r\n");
  REQUIRE(::write(terminal, "word\n", 5) == 5);
  CHECK(read_until(terminal, "ready\r\n") == "word\r\ngot word\r\nready\r\n");
  CHECK((*session)->resize(120, 44));
  CHECK(read_to_end(terminal) == "44 120\r\n");
  REQUIRE(readable((*session)->done_fd()));
  CHECK((*session)->result() == 3);
}

TEST_CASE("a command in an agent's hands gets signals and ends with its session", "[agent]") {
  agent_world world;
  auto plan = command({"sh", "-c", "trap 'echo hup' HUP; echo $$; while :; do sleep 0.05; done"});
  auto out = pipe_to(plan.stdio[1], false);
  auto session = world.client->exec(std::move(plan));
  REQUIRE(session);
  auto pid = std::atoi(read_until(out.get(), "\n").c_str());
  unique_fd process{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  REQUIRE(process);
  CHECK((*session)->signal(SIGHUP));
  CHECK(read_until(out.get(), "\n") == "hup\n");
  CHECK_FALSE((*session)->signal(0));
  CHECK_FALSE((*session)->result());
  session->reset();
  CHECK(read_to_end(out.get()).empty());
  CHECK(readable(process.get()));
}

TEST_CASE("an agent's command is recorded up to a bound", "[agent]") {
  agent_world world;
  auto plan = command({"sh", "-c", "head -c 100000 /dev/zero; echo short >&2"});
  auto file = [&](const char* name) {
    return unique_fd{::open((world.folder + name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  };
  plan.stdio[1] = file("/out");
  plan.stdio[2] = file("/err");
  plan.record = 65536;
  auto session = world.client->exec(std::move(plan));
  REQUIRE(session);
  REQUIRE(readable((*session)->done_fd()));
  CHECK((*session)->result() == 0);
  CHECK(std::filesystem::file_size(world.folder + "/out") == 65536);
  CHECK(std::filesystem::file_size(world.folder + "/err") == 6);
}
