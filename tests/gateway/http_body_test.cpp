#include "http_raw_client.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/mount.h>
#include <sys/stat.h>

using namespace troupe;
using namespace troupe::test;

namespace {

/// Bytes that tell where they are, so that a lost or swapped piece shows.
std::string numbered(size_t size, uint64_t from = 0) {
  std::string made;
  made.reserve(size + 8);
  for (auto i = from / 8; made.size() < size; ++i) made.append(reinterpret_cast<const char*>(&i), 8);
  made.resize(size);
  return made;
}

size_t file_size(int fd) {
  struct stat found {};
  fstat(fd, &found);
  return static_cast<size_t>(found.st_size);
}

/// 0 under a sanitizer, which keeps what was freed.
size_t resident_kib() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 0;
#endif
  std::ifstream status{"/proc/self/status"};
  std::string word;
  while (status >> word)
    if (word == "VmRSS:") return status >> word, std::stoul(word);
  return 0;
}

size_t open_files() {
  auto all = std::filesystem::directory_iterator{"/proc/self/fd"};
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

body_rule spool_all(const http_request&) { return {true, 1ull << 40}; }

} // namespace

TEST_CASE("a large upload goes into an unnamed file with bounded memory") {
  constexpr size_t piece = 1 << 20, pieces = 64;
  std::promise<http_request> arrived;
  server_fixture fixture{[&](http_request request, responder answer) {
                           answer.send(text_reply(std::to_string(request.spool_size)));
                           arrived.set_value(std::move(request));
                         },
                         {},
                         spool_all};
  raw_client client{fixture.path};
  bool chunked = GENERATE(false, true);
  malloc_trim(0);
  auto before = resident_kib();
  client.send(chunked ? "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                      : "POST / HTTP/1.1\r\nContent-Length: " + std::to_string(piece * pieces) + "\r\n\r\n");
  size_t most = 0;
  for (size_t i = 0; i < pieces; ++i) {
    if (chunked) client.send("100000\r\n");
    client.send(numbered(piece, i * piece));
    if (chunked) client.send("\r\n");
    most = std::max(most, resident_kib());
  }
  if (chunked) client.send("0\r\n\r\n");
  CHECK(read_reply(client).body == std::to_string(piece * pieces));
  CHECK(most < before + (16 << 10));

  auto request = arrived.get_future().get();
  REQUIRE(request.spool);
  CHECK(request.body.empty());
  CHECK(file_size(request.spool.get()) == piece * pieces);
  CHECK(lseek(request.spool.get(), 0, SEEK_CUR) == 0);
  CHECK((fcntl(request.spool.get(), F_GETFD) & FD_CLOEXEC));
  std::string back(piece, 0);
  for (size_t i = 0; i < pieces; ++i) {
    REQUIRE(::read(request.spool.get(), back.data(), piece) == static_cast<ssize_t>(piece));
    REQUIRE(back == numbered(piece, i * piece));
  }
  CHECK(std::distance(std::filesystem::directory_iterator{fixture.dir.path}, {}) == 1); // the socket
}

TEST_CASE("spooling obeys the limit and says when the file cannot be made") {
  server_fixture fixture{[](http_request, responder answer) { answer.send(text_reply("ok")); },
                         {},
                         [](const http_request&) {
                           return body_rule{true, 1 << 20};
                         }};
  raw_client client{fixture.path};
  client.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  auto chunk = "40000\r\n" + std::string(0x40000, 'x') + "\r\n";
  std::thread sender{[&] {
    for (int i = 0; i < 20 && client.send(chunk); ++i) {
    }
  }};
  CHECK(read_reply(client).status == 413);
  sender.join();

  http_server nowhere{*fixture.on, {}, fixture.dir.path + "/missing", spool_all, [](http_request, responder answer) {
                        answer.send(text_reply("ok"));
                      }};
  REQUIRE(nowhere.listen_unix(fixture.dir.path + "/second", 0600));
  raw_client second{fixture.dir.path + "/second"};
  auto got = ask(second, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
  CHECK(got.status == 500);
  CHECK(got.body.find("Cannot store the request body") != got.body.npos);
}

TEST_CASE("a disk that fills up is told as 507") {
  scratch_dir dir;
  auto mounted = dir.path + "/small";
  std::filesystem::create_directory(mounted);
  if (mount("none", mounted.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=1m") != 0) {
    WARN("Mounting is not permitted here");
    return;
  }
  {
    loop on{"test"};
    http_server server{
        on, {}, mounted, spool_all, [](http_request, responder answer) { answer.send(text_reply("ok")); }};
    REQUIRE(server.listen_unix(dir.path + "/s", 0600));
    raw_client client{dir.path + "/s"};
    client.send("POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n");
    std::thread sender{[&] {
      std::string piece(1 << 20, 'x');
      for (int i = 0; i < 48 && client.send(piece); ++i) {
      }
    }};
    CHECK(read_reply(client).status == 507);
    sender.join();
  }
  CHECK(umount2(mounted.c_str(), MNT_DETACH) == 0);
}

TEST_CASE("a client that leaves in the middle of a body leaves nothing behind") {
  std::atomic<int> handled{0};
  server_fixture fixture{[&](http_request, responder) { ++handled; }, {}, spool_all};
  { // the kernel's and libuv's own descriptors are open after this
    raw_client client{fixture.path};
    client.send("POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n" + std::string(1 << 20, 'x'));
  }
  REQUIRE(eventually([&] { return fixture.server->connections() == 0; }));
  auto before = open_files();
  for (int i = 0; i < 20; ++i) {
    raw_client client{fixture.path};
    client.send("POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n" + std::string(1 << 20, 'x'));
  }
  CHECK(eventually([&] { return fixture.server->connections() == 0 && open_files() <= before; }));
  CHECK(std::distance(std::filesystem::directory_iterator{fixture.dir.path}, {}) == 1);
  CHECK(handled == 0);
}

TEST_CASE("file ranges are streamed with bounded memory, between bytes in memory") {
  constexpr size_t size = 64 << 20;
  scratch_dir dir;
  auto path = dir.path + "/big";
  {
    std::ofstream out{path, std::ios::binary};
    for (size_t at = 0; at < size; at += 1 << 20) out << numbered(1 << 20, at);
  }
  server_fixture fixture{[&](http_request request, responder answer) {
    http_response made{200, {}, {}};
    made.body.emplace_back(std::string{"<"});
    uint64_t length = request.path == "/cut" ? size : size - 8;
    made.body.emplace_back(file_range{unique_fd{open(path.c_str(), O_RDONLY | O_CLOEXEC)}, 8, length});
    made.body.emplace_back(file_range{unique_fd{open(path.c_str(), O_RDONLY | O_CLOEXEC)}, 0, 0});
    made.body.emplace_back(std::make_shared<const std::string>(">"));
    answer.send(std::move(made));
  }};
  raw_client client{fixture.path};
  malloc_trim(0);
  auto before = resident_kib();
  client.send(get);
  CHECK(client.take_through("\r\n\r\n").find("Content-Length: " + std::to_string(size - 8 + 2)) != std::string::npos);
  CHECK(client.take(1) == "<");
  for (size_t at = 8; at < size; at += std::min<size_t>(1 << 20, size - at)) {
    auto wanted = std::min<size_t>(1 << 20, size - at);
    REQUIRE(client.take(wanted) == numbered(wanted, at));
  }
  CHECK(client.take(1) == ">");
  CHECK(resident_kib() < before + (16 << 10));
  client.send("HEAD / HTTP/1.1\r\n\r\n");
  CHECK(read_reply(client, true).has("Content-Length: " + std::to_string(size - 8 + 2)));

  // A file that turns out shorter breaks the connection: the peer must not take it for whole.
  client.send("GET /cut HTTP/1.1\r\n\r\n");
  client.take_through("\r\n\r\n");
  CHECK(client.rest().size() == size - 8 + 1);
}

TEST_CASE("a client that stops reading a large reply is dropped after the time-out and holds nothing") {
  http_limits limits;
  limits.write_timeout = std::chrono::seconds{1};
  auto big = std::make_shared<const std::string>(std::string(8 << 20, 'x'));
  server_fixture fixture{[big](http_request, responder answer) {
                           http_response made;
                           made.body.emplace_back(big);
                           answer.send(std::move(made));
                         },
                         limits};
  raw_client stuck{fixture.path}, reader{fixture.path};
  stuck.send(get);
  for (int i = 0; i < 5; ++i) REQUIRE(ask(reader, get).body.size() == big->size());
  CHECK(eventually([&] { return fixture.server->connections() == 1; }));
  CHECK(big.use_count() <= 3); // ours, the handler's two
}

TEST_CASE("the server ends in the middle of uploads and downloads") {
  scratch_dir dir;
  auto path = dir.path + "/file";
  std::ofstream{path} << numbered(4 << 20);
  server_fixture fixture{
      [&](http_request, responder answer) {
        http_response made;
        made.body.emplace_back(file_range{unique_fd{open(path.c_str(), O_RDONLY | O_CLOEXEC)}, 0, 4 << 20});
        answer.send(std::move(made));
      },
      {},
      spool_all};
  raw_client up{fixture.path}, down{fixture.path};
  up.send("POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n" + std::string(1 << 20, 'x'));
  down.send(get);
  down.take(1000);
  fixture.server.reset();
  CHECK(down.rest().size() < (4 << 20));
  CHECK(up.closed());
  CHECK(!std::filesystem::exists(fixture.path));
}
