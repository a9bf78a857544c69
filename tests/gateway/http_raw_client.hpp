#pragma once

#include "gateway/http_server.hpp"
#include "runtime/loop.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace troupe::test {

/// A directory that goes with the test.
struct scratch_dir {
  std::string path;
  scratch_dir() {
    char name[] = "/tmp/tr-http-XXXXXX";
    REQUIRE(mkdtemp(name));
    path = name;
  }
  ~scratch_dir() { std::filesystem::remove_all(path); }
};

/// One connection that speaks in bytes. Reading gives up after 20 s, so that a hanging server fails a test.
class raw_client {
public:
  explicit raw_client(const std::string& path) : fd_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strcpy(address.sun_path, path.c_str());
    REQUIRE(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    timeval patience{20, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }

  int fd() const { return fd_.get(); }
  unique_fd let_go() { return std::move(fd_); }
  void close() { fd_.reset(); }
  void end_sending() { ::shutdown(fd_.get(), SHUT_WR); }

  /// False once the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      auto put = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (put <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(put));
    }
    return true;
  }

  /// One read more into the buffer; false at the end.
  bool more() {
    char bytes[65536];
    auto got = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    if (got < 0 && errno == EAGAIN) FAIL("The server sent nothing for 20 s");
    if (got <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(got));
    return true;
  }

  std::string take(size_t count) {
    while (buffer_.size() < count && more()) {
    }
    auto taken = buffer_.substr(0, count);
    buffer_.erase(0, taken.size());
    return taken;
  }

  std::string take_through(std::string_view end) {
    size_t at = 0;
    while ((at = buffer_.find(end)) == buffer_.npos)
      if (!more()) return std::exchange(buffer_, {});
    return take(at + end.size());
  }

  std::string rest() {
    while (more()) {
    }
    return std::exchange(buffer_, {});
  }

  bool closed() { return buffer_.empty() && !more(); }

private:
  unique_fd fd_;
  std::string buffer_;
};

struct reply {
  int status = 0;
  std::string head, body;
  bool has(std::string_view text) const { return head.find(text) != head.npos; }
};

inline reply read_reply(raw_client& from, bool head_only = false) {
  reply got;
  got.head = from.take_through("\r\n\r\n");
  if (got.head.size() < 12) return got;
  got.status = atoi(got.head.c_str() + 9);
  if (head_only) return got;
  if (auto at = got.head.find("Content-Length: "); at != got.head.npos) {
    got.body = from.take(strtoull(got.head.c_str() + at + 16, nullptr, 10));
  } else if (got.has("Transfer-Encoding: chunked")) {
    for (;;) {
      auto size = strtoull(from.take_through("\r\n").c_str(), nullptr, 16);
      auto chunk = from.take(size + 2);
      if (size == 0) break;
      got.body.append(chunk, 0, size);
    }
  }
  return got;
}

inline reply ask(raw_client& over, std::string_view request) {
  over.send(request);
  return read_reply(over);
}

/// A server on a loop of its own, in a directory of its own.
struct server_fixture {
  scratch_dir dir;
  std::string path = dir.path + "/socket";
  std::unique_ptr<loop> on = std::make_unique<loop>("test");
  std::unique_ptr<http_server> server;

  explicit server_fixture(
      http_server::handler handle, http_limits limits = {},
      http_server::rule rule = [](const http_request&) { return body_rule{}; }) {
    server = std::make_unique<http_server>(*on, limits, dir.path, std::move(rule), std::move(handle));
    REQUIRE(server->listen_unix(path, 0660));
  }
  ~server_fixture() {
    server.reset();
    on.reset();
  }
  /// Waits until the loop has done what was posted before.
  void settle() {
    std::promise<void> passed;
    on->post([&] { passed.set_value(); });
    passed.get_future().wait();
  }
};

/// Waits for another thread's work; a deadline only so that a failure ends.
inline bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 2000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  return false;
}

inline http_response text_reply(std::string text, int status = 200) {
  http_response made{status, {{"Content-Type", "text/plain"}}, {}};
  made.body.emplace_back(std::move(text));
  return made;
}

inline constexpr std::string_view get = "GET /1.0 HTTP/1.1\r\nHost: unix.socket\r\n\r\n";

} // namespace troupe::test
