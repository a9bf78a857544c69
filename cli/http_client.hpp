#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace troupe {

class interrupt;

struct http_reply {
  int status = 0;
  std::map<std::string, std::string, std::less<>> headers; // names in lower case
  std::string body;
};

/// Part of a body that is streamed: bytes, or a whole file (read from its start, never held in memory).
struct body_file {
  int fd = -1;
  uint64_t size = 0;
};
using body_piece = std::variant<std::string, body_file>;

struct http_call {
  std::string method = "GET";
  std::string target; // path and query, already encoded
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::vector<body_piece> body = {};
  std::function<void(uint64_t sent, uint64_t total)> progress = {};
  int timeout_ms = -1; // without any byte from the server; -1: wait for ever
};

/// HTTP/1.1 over a unix socket, one connection per call, blocking. One thread at a time.
class http_client {
public:
  /// `stop` may be null and must outlive the client.
  explicit http_client(std::string socket_path, const interrupt* stop = nullptr)
      : socket_path_{std::move(socket_path)}, stop_{stop} {}

  /// A connected socket. not_found: nobody has made the socket; wrong_state: nobody listens on it; else another code.
  outcome<unique_fd> connect() const;
  outcome<http_reply> send(const http_call& call) const;

  /// The socket after a websocket handshake, and what had already arrived behind it.
  struct upgraded {
    unique_fd socket;
    std::string first_bytes;
  };
  outcome<upgraded> upgrade(const std::string& target) const;

private:
  std::string socket_path_;
  const interrupt* stop_;
};

/// Percent-encodes everything but unreserved characters; for one path segment or query value.
std::string url_encode(std::string_view text);

} // namespace troupe
