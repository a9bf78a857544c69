#include "tests/backends/agent_fixture.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <sys/stat.h>

using namespace troupe;
using namespace troupe::test;

namespace {

void write_all(int fd, const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    auto n = ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    REQUIRE(n > 0);
    at += static_cast<size_t>(n);
  }
}

std::string content(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

TEST_CASE("files go to an agent and come back", "[agent]") {
  agent_world world;
  auto& client = *world.client;
  auto path = world.folder + "/file";
  std::string bytes;
  for (int i = 0; i < 500'000; ++i) bytes += static_cast<char>(i * 31 >> (i % 7));
  file_write how;
  how.uid = 7;
  how.gid = 8;
  how.mode = 0640;
  auto to = client.write_file(path, how);
  REQUIRE(to);
  write_all(to->get(), bytes);
  REQUIRE(client.finish_write(*to));
  CHECK(content(path) == bytes);
  struct stat st {};
  REQUIRE(::stat(path.c_str(), &st) == 0);
  CHECK(st.st_uid == 7);
  CHECK((st.st_mode & 07777) == 0640);

  auto info = client.read_file(path);
  REQUIRE(info);
  CHECK(info->type == 'f');
  CHECK(info->gid == 8);
  CHECK(info->size == bytes.size());
  CHECK(info->streamed);
  CHECK(read_to_end(info->content.get()) == bytes);

  how.append = true;
  to = client.write_file(path, how);
  REQUIRE(to);
  write_all(to->get(), "more");
  REQUIRE(client.finish_write(*to));
  CHECK(content(path) == bytes + "more");
}

TEST_CASE("folders, links and errors of an agent's files", "[agent]") {
  agent_world world;
  auto& client = *world.client;
  file_write folder;
  folder.type = 'd';
  folder.mode = 0711;
  CHECK(client.write_file(world.folder + "/d", folder));
  CHECK(client.write_file(world.folder + "/d", folder));
  file_write link;
  link.type = 'l';
  link.target = "d";
  CHECK(client.write_file(world.folder + "/l", link));
  auto listed = client.read_file(world.folder);
  REQUIRE(listed);
  CHECK(listed->type == 'd');
  CHECK(listed->entries == std::vector<std::string>{"agent", "d", "l"});
  auto read = client.read_file(world.folder + "/l");
  REQUIRE(read);
  CHECK(read->type == 'l');
  CHECK(read->target == world.folder + "/d");
  CHECK(client.remove_file(world.folder + "/l"));
  CHECK(client.remove_file(world.folder + "/d"));
  auto none = client.read_file(world.folder + "/d");
  REQUIRE_FALSE(none);
  CHECK(none.error().message.find("No such file") != std::string::npos);
  CHECK_FALSE(client.remove_file(world.folder + "/d"));
  CHECK_FALSE(client.write_file(world.folder + "/no/file", {}));
}

TEST_CASE("an agent's file that hangs holds up nobody", "[agent]") {
  agent_world world;
  auto path = world.folder + "/pipe";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK(world.client->read_file(path).error().code == fault::unsupported);
  auto hanging = world.client->write_file(world.folder + "/slow", {}); // nothing is written to it
  REQUIRE(hanging);
  CHECK(execute(*world.client, command({"echo", "here"})).out == "here\n");
}

TEST_CASE("an agent's file that breaks off is no end of file", "[agent]") {
  agent_world world;
  { std::ofstream{world.folder + "/big"} << std::string(30 << 20, 'x'); }
  auto info = world.client->read_file(world.folder + "/big");
  REQUIRE(info);
  char some[1000];
  REQUIRE(::read(info->content.get(), some, sizeof some) > 0);
  world.agent->end(SIGTERM);
  ssize_t got = 0;
  char rest[65536];
  while ((got = ::read(info->content.get(), rest, sizeof rest)) > 0) {
  }
  CHECK(got < 0);
}

TEST_CASE("an agent serves SFTP", "[agent]") {
  agent_world world;
  auto socket = world.client->serve_sftp();
  REQUIRE(socket);
  write_all(socket->get(), std::string{"\0\0\0\5\1\0\0\0\3", 9});
  REQUIRE(readable(socket->get()));
  char head[9];
  REQUIRE(::recv(socket->get(), head, sizeof head, MSG_WAITALL) == sizeof head);
  CHECK(head[4] == 2);
  CHECK(head[8] == 3);
}

TEST_CASE("an agent reports on its machine", "[agent]") {
  agent_world world;
  auto report = world.client->report();
  REQUIRE(report);
  CHECK(report->processes > 0);
  CHECK(report->memory_total > report->memory_used);
  CHECK(report->root_total > 0);
  CHECK_FALSE(report->os.empty());
  CHECK_FALSE(report->kernel.empty());
  char name[256];
  REQUIRE(::gethostname(name, sizeof name) == 0);
  CHECK(report->hostname == name);
  auto lo = std::find_if(report->cards.begin(), report->cards.end(), [](auto& card) { return card.name == "lo"; });
  REQUIRE(lo != report->cards.end());
  CHECK(lo->type == "loopback");
  auto address =
      std::find_if(lo->addresses.begin(), lo->addresses.end(), [](auto& each) { return each.address == "127.0.0.1"; });
  REQUIRE(address != lo->addresses.end());
  CHECK(address->prefix == 8);
  CHECK(address->scope == "local");
}
