#include "websocket_raw_client.hpp"

#include <fcntl.h>
#include <pty.h>
#include <random>

using namespace troupe;
using namespace troupe::test;

namespace {

struct two_ends {
  unique_fd ours, theirs; // read from / write to
};

/// {what the pump holds, the other end}
two_ends make_pipe(bool pump_reads) {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  return {unique_fd{ends[pump_reads ? 0 : 1]}, unique_fd{ends[pump_reads ? 1 : 0]}};
}

two_ends make_pair() {
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  return {unique_fd{ends[0]}, unique_fd{ends[1]}};
}

bool write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    auto put = ::write(fd, data.data(), data.size());
    if (put <= 0) return false;
    data.remove_prefix(static_cast<size_t>(put));
  }
  return true;
}

std::string random_bytes(size_t size) {
  std::mt19937_64 dice{42};
  std::string made(size, 0);
  for (size_t i = 0; i + 8 <= size; i += 8) {
    auto word = dice();
    memcpy(made.data() + i, &word, 8);
  }
  return made;
}

struct ends_seen {
  std::atomic<int> from_fd{0}, from_socket{0};
  std::function<void(bool)> call() {
    return [this](bool fd) { ++(fd ? from_fd : from_socket); };
  }
};

/// Data frames until the barrier.
std::string until_barrier(ws_client& client) {
  std::string all;
  for (;;) {
    auto got = client.next();
    if (got.opcode == 1 && got.data.empty()) return all;
    if (got.opcode != 2) FAIL("frame " << got.opcode << " instead of data");
    all += got.data;
  }
}

} // namespace

TEST_CASE("32 MiB pass both ways through a socket, whole and in order, with bounded queues") {
  ws_fixture fixture;
  ends_seen ended;
  ws_client client{fixture.http.path};
  auto socket = fixture.at(0);
  auto [ours, theirs] = make_pair();
  auto pump = fd_pump::start(*fixture.http.on, std::move(ours), socket, fd_pump::direction::both, ended.call());
  const auto data = random_bytes(32 << 20);
  std::atomic<size_t> most{0};

  std::thread device_out{[&] {
    write_all(theirs.get(), data);
    ::shutdown(theirs.get(), SHUT_WR);
  }};
  std::string device_got;
  std::thread device_in{[&] {
    std::string piece(100000, 0);
    for (ssize_t got; (got = ::read(theirs.get(), piece.data(), piece.size())) > 0;)
      device_got.append(piece, 0, static_cast<size_t>(got));
  }};
  std::thread sender{[&] {
    for (size_t at = 0; at < data.size(); at += 50000) {
      client.send_frame(2, std::string_view{data}.substr(at, 50000));
      most = std::max(most.load(), socket->queued_bytes());
    }
    client.send_frame(1, "");
  }};
  auto got = until_barrier(client);
  device_out.join();
  sender.join();
  device_in.join();
  CHECK((got == data));
  CHECK((device_got == data));
  CHECK(most < (1 << 20));
  CHECK(eventually([&] { return ended.from_fd == 1 && ended.from_socket == 1; }));
}

TEST_CASE("a pipe's last bytes come before the barrier, and the pump lets go of it") {
  ws_fixture fixture;
  ends_seen ended;
  ws_client client{fixture.http.path};
  auto [ours, theirs] = make_pipe(true);
  fd_pump::start(*fixture.http.on, std::move(ours), fixture.at(0), fd_pump::direction::to_socket, ended.call());
  std::thread writer{[&] {
    write_all(theirs.get(), std::string(3 << 20, 'x') + "last");
    theirs.reset();
  }};
  auto got = until_barrier(client);
  writer.join();
  CHECK(got.size() == (3 << 20) + 4);
  CHECK(got.ends_with("xlast"));
  CHECK(eventually([&] { return ended.from_fd == 1; }));
  CHECK(ended.from_socket == 0);
}

TEST_CASE("a slow websocket stops the reading of the pipe") {
  ws_fixture fixture;
  ws_client client{fixture.http.path};
  auto socket = fixture.at(0);
  auto [ours, theirs] = make_pipe(true);
  auto pump = fd_pump::start(*fixture.http.on, std::move(ours), socket, fd_pump::direction::to_socket, {});
  pollfd full{theirs.get(), POLLOUT, 0};
  std::thread writer{[&] {
    write_all(theirs.get(), std::string(8 << 20, 'x'));
    theirs.reset();
  }};
  CHECK(eventually([&] { return poll(&full, 1, 0) == 0 && socket->queued_bytes() > 0; }));
  CHECK(socket->queued_bytes() < (1 << 20));
  CHECK(until_barrier(client).size() == (8 << 20));
  writer.join();
}

TEST_CASE("draining sends what is there and ends though another writer holds the pipe") {
  ws_fixture fixture;
  ends_seen ended;
  ws_client client{fixture.http.path};
  auto [ours, theirs] = make_pipe(true);
  write_all(theirs.get(), std::string(60000, 'x') + "done");
  auto pump =
      fd_pump::start(*fixture.http.on, std::move(ours), fixture.at(0), fd_pump::direction::to_socket, ended.call());
  bool chatty = GENERATE(false, true);
  std::atomic<bool> stop{false};
  std::thread grandchild{[&] {
    while (chatty && !stop && write_all(theirs.get(), "y")) {
    }
  }};
  pump->drain_and_stop();
  pump->drain_and_stop();
  auto got = until_barrier(client);
  stop = true;
  CHECK(got.substr(0, 60004).ends_with("xdone"));
  CHECK(eventually([&] { return ended.from_fd == 1; }));
  grandchild.join();
}

TEST_CASE("the writing side gets everything, then the end of file") {
  ws_fixture fixture;
  ends_seen ended;
  ws_client client{fixture.http.path};
  auto [ours, theirs] = make_pipe(false);
  fd_pump::start(*fixture.http.on, std::move(ours), fixture.at(0), fd_pump::direction::from_socket, ended.call());
  std::thread sender{[&] {
    for (int i = 0; i < 100; ++i) client.send_frame(2, std::string(50000, 'x'));
    client.send_frame(1, "");
  }};
  size_t total = 0;
  std::string piece(10000, 0);
  for (ssize_t got; (got = ::read(theirs.get(), piece.data(), piece.size())) > 0;) total += static_cast<size_t>(got);
  sender.join();
  CHECK(total == 5000000);
  CHECK(eventually([&] { return ended.from_socket == 1; }));
  CHECK(ended.from_fd == 0);
}

TEST_CASE("the end of the websocket ends the writing side after what was received") {
  ws_fixture fixture;
  ends_seen ended;
  ws_client client{fixture.http.path};
  auto [ours, theirs] = make_pipe(false);
  fd_pump::start(*fixture.http.on, std::move(ours), fixture.at(0), fd_pump::direction::from_socket, ended.call());
  client.send_frame(2, std::string(60000, 'x'));
  client.close();
  size_t total = 0;
  std::string piece(10000, 0);
  for (ssize_t got; (got = ::read(theirs.get(), piece.data(), piece.size())) > 0;) total += static_cast<size_t>(got);
  CHECK(total == 60000);
  CHECK(eventually([&] { return ended.from_socket == 1; }));
}

TEST_CASE("a process that does not read its input any more ends that direction quietly") {
  ws_fixture fixture;
  ends_seen ended;
  ws_client client{fixture.http.path};
  auto [ours, theirs] = make_pipe(false);
  fd_pump::start(*fixture.http.on, std::move(ours), fixture.at(0), fd_pump::direction::from_socket, ended.call());
  theirs.reset();
  for (int i = 0; i < 20; ++i) REQUIRE(client.send_frame(2, std::string(50000, 'x')));
  CHECK(eventually([&] { return ended.from_socket == 1; }));
  client.send_frame(9, "still there");
  CHECK(client.next().opcode == 10);
}

TEST_CASE("a terminal ends when its last user leaves, with all of its output") {
  ws_fixture fixture;
  ends_seen ended;
  ws_client client{fixture.http.path};
  int master = -1, slave = -1;
  REQUIRE(openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
  unique_fd terminal{slave};
  auto pump =
      fd_pump::start(*fixture.http.on, unique_fd{master}, fixture.at(0), fd_pump::direction::both, ended.call());
  client.send_frame(2, "typed\n");
  char typed[16] = {};
  REQUIRE(::read(slave, typed, sizeof typed) == 6);
  std::thread process{[&] {
    for (int i = 0; i < 20000; ++i) write_all(slave, "line\n");
    terminal.reset();
  }};
  auto got = until_barrier(client);
  process.join();
  CHECK(got.starts_with("typed\r\nline\r\n"));
  CHECK(got.size() == 7 + 20000 * 6);
  CHECK(eventually([&] { return ended.from_fd == 1; }));
  client.send_frame(1, "");
  CHECK(eventually([&] { return ended.from_socket == 1; }));
}

TEST_CASE("a terminal that a grandchild keeps open is drained") {
  ws_fixture fixture;
  ws_client client{fixture.http.path};
  int master = -1, slave = -1;
  REQUIRE(openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
  unique_fd terminal{slave};
  write_all(slave, std::string(3000, 'x') + "end");
  auto pump = fd_pump::start(*fixture.http.on, unique_fd{master}, fixture.at(0), fd_pump::direction::both, {});
  pump->drain_and_stop();
  auto got = until_barrier(client);
  CHECK(got == std::string(3000, 'x') + "end");
}
