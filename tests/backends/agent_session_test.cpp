#include "backends/instance/agent/seed_drive.hpp"
#include "tests/backends/agent_fixture.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <sys/stat.h>

using namespace troupe;
using namespace troupe::test;

namespace {

const std::string hello_mark = "\xa7H";

void put(int fd, const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    auto n = ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n <= 0) return;
    at += static_cast<size_t>(n);
  }
}

/// A guest of ours that knows how a session begins, and then says what it likes.
class other_guest {
public:
  explicit other_guest(int port) : port_{port} {}
  void begin(char digit) {
    std::string mine(32, digit);
    put(port_, hello_mark + mine + std::string(32, '0'));
    std::string all;
    do all += next_hello();
    while (all.find(mine) == all.npos);
    put(port_, hello_mark + mine + all.substr(all.size() - 64, 32));
  }
  /// The digits of the next hello.
  std::string next_hello() {
    for (std::string all;;) {
      auto at = all.find(hello_mark);
      if (at != all.npos && all.size() >= at + 66) return all.substr(at + 2, 64);
      char byte = 0;
      if (!readable(port_) || ::recv(port_, &byte, 1, 0) != 1) return {};
      all += byte;
    }
  }

private:
  int port_;
};

} // namespace

TEST_CASE("an agent that ends and comes again has another session", "[agent]") {
  agent_world world;
  auto session = world.client->exec(command({"sleep", "1000"}));
  REQUIRE(session);
  world.agent->end(SIGTERM); // it says so
  REQUIRE(world.heard.wait(1, 1));
  CHECK_FALSE(world.client->connected());
  REQUIRE(readable((*session)->done_fd()));
  CHECK((*session)->result().error().code == fault::backend_failed);
  CHECK(execute(*world.client, command({"true"})).code.error().code == fault::wrong_state);
  CHECK_FALSE(world.client->report());

  world.agent = std::make_unique<agent_process>(world.port->guest());
  REQUIRE(world.heard.wait(2, 1));
  CHECK(execute(*world.client, command({"echo", "here"})).out == "here\n");
  session = world.client->exec(command({"sleep", "1000"}));
  REQUIRE(session);
  world.agent->end(SIGKILL); // it says nothing, and what is sent to it stays in the port
  session->get()->signal(SIGUSR1);
  world.agent = std::make_unique<agent_process>(world.port->guest());
  REQUIRE(world.heard.wait(3, 2));
  REQUIRE(readable((*session)->done_fd()));
  CHECK_FALSE((*session)->result());
  CHECK(execute(*world.client, command({"echo", "here"})).out == "here\n");
}

TEST_CASE("a client that comes again finds the agent without the rest of the last session", "[agent]") {
  agent_world world;
  REQUIRE(::mkfifo((world.folder + "/hup").c_str(), 0600) == 0);
  unique_fd hup{::open((world.folder + "/hup").c_str(), O_RDWR | O_CLOEXEC)};
  exec_plan plan;
  plan.command = {"sh", "-c",
                  "trap 'echo hup > " + world.folder + "/hup; exit' HUP; echo ready; while :; do sleep 0.05; done"};
  plan.environment = {{"PATH", "/bin:/usr/bin"}};
  plan.interactive = true;
  auto terminal = world.client->exec(std::move(plan));
  REQUIRE(terminal);
  CHECK(read_until((*terminal)->pty(), "ready") == "ready\r\n");
  auto flood = command({"yes"});
  auto out = pipe_to(flood.stdio[1], false);
  auto session = world.client->exec(std::move(flood));
  REQUIRE(session);
  REQUIRE(readable(out.get())); // the port is full of it
  world.client = world.clients->open(world.folder + "/agent", world.heard.listen());
  REQUIRE(world.heard.wait(2, 0));
  CHECK(execute(*world.client, command({"echo", "here"})).out == "here\n");
  REQUIRE(readable((*session)->done_fd()));
  REQUIRE(readable((*terminal)->done_fd()));
  CHECK(read_until(hup.get(), "hup\n") == "hup\n");
}

TEST_CASE("a client finds the agent's socket again when it is back", "[agent]") {
  agent_world world;
  world.port->close();
  REQUIRE(world.heard.wait(1, 1));
  world.port->open();
  REQUIRE(world.heard.wait(2, 1));
  CHECK(execute(*world.client, command({"echo", "here"})).out == "here\n");
}

TEST_CASE("a guest that speaks nonsense costs only its own session", "[agent]") {
  agent_world hostile{false}, good;
  CHECK(execute(*hostile.client, command({"true"})).code.error().code == fault::wrong_state);
  int port = hostile.port->guest();
  std::string noise;
  for (int i = 0; i < 3'000'000; ++i) noise += static_cast<char>(i * 2654435761u >> 13);
  std::thread reader{[&] { // its other half: what is sent to it
    char bytes[4096];
    while (readable(port, 2000) && ::recv(port, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
  }};
  put(port, noise + "\xa7" + "B" + hello_mark + "zz");
  reader.join();
  CHECK_FALSE(hostile.client->connected());

  other_guest guest{port};
  guest.begin('1');
  REQUIRE(hostile.heard.wait(1, 0));
  put(port, std::string{"\0\0\0\0\xff\xff\xff\x7f", 8}); // a message of 16 GB
  REQUIRE(hostile.heard.wait(1, 1));
  guest.begin('2');
  REQUIRE(hostile.heard.wait(2, 1));
  put(port, noise); // no message at all
  REQUIRE(hostile.heard.wait(2, 2));
  CHECK(execute(*good.client, command({"echo", "here"})).out == "here\n");
}

TEST_CASE("a guest that says nothing is not waited for without end", "[agent]") {
  agent_world world{false};
  other_guest guest{world.port->guest()};
  guest.begin('3');
  REQUIRE(world.heard.wait(1, 0));
  std::optional<guest_report> report;
  outcome<file_info> info;
  std::thread reporter{[&] { report = world.client->report(); }};
  std::thread filer{[&] { info = world.client->read_file("/x"); }};
  CHECK(execute(*world.client, command({"true"})).code.error().code == fault::timed_out);
  reporter.join();
  filer.join();
  CHECK_FALSE(report);
  REQUIRE_FALSE(info);
  CHECK(info.error().code == fault::timed_out);
  // The real one comes, and finds what was said to the other.
  world.agent = std::make_unique<agent_process>(world.port->guest());
  REQUIRE(world.heard.wait(2, 1));
  CHECK(execute(*world.client, command({"echo", "here"})).out == "here\n");
}

TEST_CASE("a config drive holds its files, the agent and what starts it", "[agent]") {
  char name[] = "/tmp/troupe-seed-test.XXXXXX";
  std::string folder = ::mkdtemp(name);
  auto drive = folder + "/drive.iso", agent = folder + "/agent";
  std::string program = "program " + std::string(100'000, 'p');
  { std::ofstream{agent} << program; }
  CHECK_FALSE(write_seed_drive(drive, {}, folder + "/none"));
  CHECK(write_seed_drive(drive, {{"../x", "y"}}, agent).error().code == fault::invalid);
  CHECK_FALSE(std::filesystem::exists(drive));
  REQUIRE(write_seed_drive(drive, {{"user-data", "old"}}, agent));
  REQUIRE(write_seed_drive(drive, {{"user-data", "#cloud-config\n"}, {"some/Long.name-with.many.dots", "x"}}, agent));

  std::ifstream raw{drive, std::ios::binary};
  raw.seekg(16 * 2048 + 40);
  char label[7] = {};
  raw.read(label, 6);
  CHECK(std::string{label} == "cidata");

  std::map<std::string, std::string> found;
  std::map<std::string, int> modes;
  auto* a = archive_read_new();
  archive_read_support_format_iso9660(a);
  REQUIRE(archive_read_open_filename(a, drive.c_str(), 65536) == ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
    std::string path = archive_entry_pathname(entry), bytes(static_cast<size_t>(archive_entry_size(entry)), '\0');
    if (archive_read_data(a, bytes.data(), bytes.size()) >= 0) found[path] = bytes;
    modes[path] = archive_entry_perm(entry);
  }
  archive_read_free(a);
  CHECK(found["user-data"] == "#cloud-config\n");
  CHECK(found["some/Long.name-with.many.dots"] == "x");
  CHECK(found["troupe-agent"] == program);
  CHECK(found["start"].starts_with("#!/bin/sh\n"));
  CHECK(found.count("install.sh") == 1);
  CHECK(found.count("systemd/troupe-agent.service") == 1);
  CHECK((modes["start"] & 0111) == 0111);
  CHECK((modes["user-data"] & 0111) == 0);
  std::filesystem::remove_all(folder);
}
