#pragma once

#include "messages/unique_fd.hpp"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <vector>

namespace troupe::test {

struct seen_request {
  std::string method, target, head, body;
};

/// A daemon of the test's own: answers every request by a function of it. Its folder is `dir()`.
class fake_server {
public:
  using answerer = std::function<std::string(const seen_request&)>; // the raw reply

  explicit fake_server(answerer answer) : answer_{std::move(answer)} {
    std::string path = std::filesystem::temp_directory_path() / "tr-cli-XXXXXX";
    dir_ = ::mkdtemp(path.data());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (dir_ + "/unix.socket").copy(address.sun_path, sizeof address.sun_path - 1);
    listener_ = unique_fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(listener_.get(), 8);
    thread_ = std::thread{[this] { serve(); }};
  }
  ~fake_server() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    std::filesystem::remove_all(dir_);
  }

  const std::string& dir() const { return dir_; }
  std::vector<seen_request> seen() const {
    std::lock_guard lock{mutex_};
    return seen_;
  }

private:
  void serve() {
    for (;;) {
      unique_fd peer{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      if (!peer) return;
      auto request = read_request(peer.get());
      {
        std::lock_guard lock{mutex_};
        seen_.push_back(request);
      }
      auto reply = answer_(request);
      ::send(peer.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
    }
  }

  static seen_request read_request(int fd) {
    std::string text;
    char buffer[65536];
    size_t end = std::string::npos, wanted = 0;
    while (end == std::string::npos || text.size() < end + 4 + wanted) {
      ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      text.append(buffer, static_cast<size_t>(got));
      if (end != std::string::npos || (end = text.find("\r\n\r\n")) == std::string::npos) continue;
      auto at = text.find("Content-Length: ");
      if (at < end) wanted = std::stoul(text.substr(at + 16));
    }
    seen_request out;
    out.head = text.substr(0, end);
    if (end != std::string::npos) out.body = text.substr(end + 4);
    auto space = out.head.find(' ');
    out.method = out.head.substr(0, space);
    out.target = out.head.substr(space + 1, out.head.find(' ', space + 1) - space - 1);
    return out;
  }

  answerer answer_;
  std::string dir_;
  unique_fd listener_;
  mutable std::mutex mutex_;
  std::vector<seen_request> seen_;
  std::thread thread_;
};

inline std::string reply(int status, const nlohmann::json& body, const std::string& more = "") {
  auto text = body.dump();
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + more + "Content-Length: " + std::to_string(text.size()) +
         "\r\n\r\n" + text;
}

inline std::string sync(const nlohmann::json& metadata) {
  return reply(200, {{"type", "sync"}, {"status_code", 200}, {"metadata", metadata}});
}

inline std::string refused(int status, const std::string& why) {
  return reply(status, {{"type", "error"}, {"error_code", status}, {"error", why}, {"metadata", nullptr}});
}

} // namespace troupe::test
