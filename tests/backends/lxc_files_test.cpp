#include "tests/backends/lxc_fixture.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>

using namespace troupe;
using namespace troupe::test;
namespace fs = std::filesystem;

namespace {

std::string content(lxc_world& world, const file_root& root, const std::string& path) {
  auto info = world.driver->read_file(root, path);
  return info ? read_all(info->content.get()) : "error: " + info.error().message;
}

outcome<void> put(lxc_world& world, const file_root& root, const std::string& path, const std::string& text,
                  file_write how = {}) {
  auto fd = world.driver->write_file(root, path, how);
  if (!fd) return tl::unexpected{fd.error()};
  if (::write(fd->get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail(fault::internal, "short");
  return world.driver->finish_write(*fd);
}

void check_everything(lxc_world& world, const file_root& root) {
  file_write how;
  how.uid = 1000;
  how.gid = 1000;
  how.mode = 04640;
  REQUIRE(put(world, root, "/root/a", "one", how));
  auto info = world.driver->read_file(root, "/root/a");
  REQUIRE(info);
  CHECK(info->type == 'f');
  CHECK(info->uid == 1000);
  CHECK(info->gid == 1000);
  CHECK(info->mode == 04640);
  CHECK(info->size == 3);
  CHECK(info->modified > 1600000000);

  file_write append;
  append.append = true;
  append.mode = 0777; // not for what exists
  REQUIRE(put(world, root, "/root/a", "two", append));
  CHECK(content(world, root, "/root/a") == "onetwo");
  CHECK(world.driver->read_file(root, "/root/a")->mode == 04640);
  REQUIRE(put(world, root, "root//./a", "three"));
  CHECK(content(world, root, "/root/a") == "three");

  file_write directory;
  directory.type = 'd';
  directory.mode = 0700;
  REQUIRE(world.driver->write_file(root, "/root/d", directory));
  REQUIRE(world.driver->write_file(root, "/root/d/", directory));
  CHECK(world.driver->write_file(root, "/root/a", directory).error().code == fault::already_exists);
  CHECK(world.driver->read_file(root, "/root/d")->mode == 0700);
  REQUIRE(put(world, root, "/root/d/z", "z"));
  REQUIRE(put(world, root, "/root/d/y", "y"));
  CHECK(world.driver->read_file(root, "/root/d")->entries == std::vector<std::string>{"y", "z"});
  CHECK(world.driver->remove_file(root, "/root/d").error().code == fault::invalid);

  file_write link;
  link.type = 'l';
  link.target = "../etc/./passwd";
  REQUIRE(world.driver->write_file(root, "/root/link", link));
  auto seen = world.driver->read_file(root, "/root/link");
  REQUIRE(seen);
  CHECK(seen->type == 'l');
  CHECK(seen->target == "/etc/passwd");
  CHECK_FALSE(seen->content);
  for (auto name : {"/root/d/z", "/root/d/y", "/root/d", "/root/link"}) CHECK(world.driver->remove_file(root, name));
  CHECK(content(world, root, "/etc/passwd").find("user:x") != std::string::npos);
  CHECK(world.driver->read_file(root, "/root/link").error().code == fault::not_found);
  CHECK(world.driver->remove_file(root, "/root/link").error().code == fault::not_found);
  CHECK(put(world, root, "/no/such/dir/file", "x").error().code == fault::not_found);
  CHECK(world.driver->remove_file(root, "/").error().code == fault::invalid);
  CHECK(world.driver->remove_file(root, "/root/..").error().code == fault::invalid);
}

void check_confinement(lxc_world& world, const file_root& root, const fs::path& secret) {
  // Links that would leave the tree when followed on the host.
  file_write link;
  link.type = 'l';
  for (auto [name, target] : {std::pair{"/root/abs", secret.parent_path().string()},
                              std::pair{"/root/up", "../../../../../../../.." + secret.parent_path().string()}}) {
    link.target = target;
    REQUIRE(world.driver->write_file(root, name, link));
    auto leaf = std::string{name} + "/" + secret.filename().string();
    CHECK(world.driver->read_file(root, leaf).error().code == fault::not_found);
    CHECK_FALSE(put(world, root, leaf, "broken"));
    CHECK_FALSE(world.driver->remove_file(root, leaf));
    CHECK(world.driver->remove_file(root, name));
  }
  link.target = secret;
  REQUIRE(world.driver->write_file(root, "/root/leaf", link));
  CHECK_FALSE(put(world, root, "/root/leaf", "broken")); // the target's directory does not exist inside
  CHECK(world.driver->read_file(root, "/../../../" + secret.string()).error().code == fault::not_found);
  link.target = "/etc/passwd";
  REQUIRE(world.driver->write_file(root, "/root/passwd", link));
  REQUIRE(put(world, root, "/root/passwd", "of the guest\n"));
  CHECK(content(world, root, "/etc/passwd") == "of the guest\n");
  std::ifstream host{"/etc/passwd"};
  std::string first;
  std::getline(host, first);
  CHECK(first.starts_with("root:"));
  std::ifstream kept{secret};
  std::getline(kept, first);
  CHECK(first == "secret");
}

} // namespace

namespace {

std::string packet(const std::string& body) {
  std::string out;
  for (int shift : {24, 16, 8, 0}) out += static_cast<char>(body.size() >> shift);
  return out + body;
}

/// The type and the rest of one answer.
std::string answer_of(int fd, const std::string& request) {
  auto bytes = packet(request);
  REQUIRE(::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  auto exactly = [&](size_t size) {
    std::string out(size, '\0');
    for (size_t have = 0; have < size;) {
      auto got = ::read(fd, out.data() + have, size - have);
      REQUIRE(got > 0);
      have += static_cast<size_t>(got);
    }
    return out;
  };
  auto head = exactly(4);
  return exactly(static_cast<unsigned char>(head[2]) * 256u + static_cast<unsigned char>(head[3]));
}

std::string counted(const std::string& text) {
  return std::string{"\0\0\0", 3} + static_cast<char>(text.size()) + text;
}

} // namespace

TEST_CASE("files of a stopped container", "[lxc]") {
  lxc_world world{"files"};
  file_root root{0, world.plan().root, world.plan().ids};
  check_everything(world, root);
  write_text(world.place / "secret", "secret\n");
  check_confinement(world, root, world.place / "secret");
  CHECK(world.driver->read_file(root, "/")->entries.size() > 5);
}

TEST_CASE("nothing in a container is given to an id that it has not got", "[lxc]") {
  lxc_world world{"ids"};
  file_root root{0, world.plan().root, world.plan().ids};
  REQUIRE(root.ids.size > 0);
  file_write how;
  for (auto id : {root.ids.size, 0u - root.ids.host, 0xffffffffu}) { // the second is the host's root, by wrapping
    how.uid = id;
    how.gid = 0;
    CHECK(world.driver->write_file(root, "/root/owned", how).error().code == fault::invalid);
    std::swap(how.uid, how.gid);
    CHECK(world.driver->write_file(root, "/root/owned", how).error().code == fault::invalid);
  }
  auto socket = world.driver->serve_sftp(root);
  REQUIRE(socket);
  answer_of(socket->get(), std::string{"\1\0\0\0\3", 5});
  auto give_to = [&](uint32_t id) { // SETSTAT of the owner; the status behind the id of the answer
    auto request = std::string{"\11\0\0\0\1", 5} + counted("/etc/passwd") + std::string{"\0\0\0\2", 4};
    for (auto one : {id, 0u})
      for (int shift : {24, 16, 8, 0}) request += static_cast<char>(one >> shift);
    return answer_of(socket->get(), request).at(8);
  };
  CHECK(give_to(1000) == 0);
  for (auto id : {root.ids.size, 0u - root.ids.host, 0xffffffffu}) CHECK(give_to(id) == 4);
}

TEST_CASE("a folder with more names than a message holds is refused", "[lxc]") {
  lxc_world world{"names"};
  file_root root{0, world.plan().root, world.plan().ids};
  auto folder = world.place / "c1/rootfs/full";
  fs::create_directory(folder);
  unique_fd at{::open(folder.c_str(), O_PATH | O_DIRECTORY)};
  int made = 0;
  for (int i = 0; i < 130'000; ++i) {
    auto name = std::to_string(i) + std::string(249, 'x');
    made += ::mknodat(at.get(), name.c_str(), S_IFREG | 0600, 0) == 0;
  }
  REQUIRE(made == 130'000);
  CHECK(world.driver->read_file(root, "/full").error().code == fault::too_large);
}

TEST_CASE("files of a running container are those that it sees itself", "[lxc]") {
  lxc_world world{"livefiles"};
  auto run = world.driver->start(world.plan());
  REQUIRE(run);
  file_root root{run->leader, world.plan().root, world.plan().ids};
  world.shell(run->leader, "while [ ! -e /run/booted ]; do sleep 0.05; done");
  CHECK(content(world, root, "/run/booted") == "booted\n");
  CHECK(world.shell(run->leader, "mknod /root/pipe p; echo $?") == "0\n");
  CHECK(world.driver->read_file(root, "/root/pipe").error().code == fault::unsupported);
  CHECK(put(world, root, "/root/pipe", "x").error().code == fault::invalid);
  CHECK_FALSE(world.driver->read_file(root, "/proc/1/root/etc")); // a magic link
  check_everything(world, root);
  write_text(world.place / "secret", "secret\n");
  check_confinement(world, root, world.place / "secret");
  CHECK(world.shell(run->leader, "cat /root/a; ls -ln /root/a").find("1000     1000") != std::string::npos);

  file_root wrong{::getpid(), world.plan().root, world.plan().ids}; // never a host process
  CHECK(world.driver->read_file(wrong, "/etc/passwd").error().code == fault::wrong_state);
  world.driver->kill("c1", run->leader);
  REQUIRE(readable(run->monitor_pidfd.get()));
  CHECK(world.driver->read_file(root, "/etc/passwd").error().code == fault::wrong_state);
}

TEST_CASE("SFTP ends with its socket, and leads nowhere else", "[lxc]") {
  lxc_world world{"sftp"};
  file_root root{0, world.plan().root, {}};
  write_text(world.place / "secret", "the host's");
  fs::create_symlink("../../../../../.." + (world.place / "secret").string(), world.place / "c1/rootfs/out");
  auto socket = world.driver->serve_sftp(root);
  REQUIRE(socket);
  int fd = socket->get();
  CHECK(answer_of(fd, std::string{"\1\0\0\0\3", 5})[0] == 2); // version
  auto stat = [&](const std::string& path) { return answer_of(fd, std::string{"\21\0\0\0\1", 5} + counted(path)); };
  CHECK(stat("/etc/passwd")[0] == 105); // attributes
  for (auto path : {"/out", "/../secret", "/../../../../../../etc/debian_version"}) CHECK(stat(path)[0] == 101);
  CHECK(answer_of(fd, std::string{"\20\0\0\0\1", 5} + counted("/a/../../b"))[0] == 104); // its name
  CHECK(answer_of(fd, std::string{"\21\0\0", 3})[0] == 101);                             // half a packet
  CHECK(answer_of(fd, std::string{"\21\0\0\0\1\0\0\377\377", 9})[0] == 101);             // a text that is not there
  CHECK(answer_of(fd, std::string{"\144\0\0\0\1", 5})[0] == 101);                        // no such request
  std::string garbage(4, '\xff');
  REQUIRE(::write(fd, garbage.data(), garbage.size()) == 4);
  CHECK(read_all(fd).empty()); // it hangs up
}

TEST_CASE("what a file system of the container's own says comes by way of the helper", "[lxc]") {
  lxc_world world{"streamed"};
  auto started = world.driver->start(world.plan());
  REQUIRE(started);
  file_root root{started->leader, world.plan().root, world.plan().ids};
  auto file = world.driver->read_file(root, "/proc/version");
  REQUIRE(file);
  CHECK(file->streamed);
  CHECK(read_all(file->content.get()).starts_with("Linux version"));
  auto local = world.driver->read_file(root, "/etc/passwd");
  REQUIRE(local);
  CHECK_FALSE(local->streamed);
  file_write how;
  auto into = world.driver->write_file(root, "/proc/sys/kernel/nothing", how);
  CHECK_FALSE(into);
}
