#pragma once

#include "http_raw_client.hpp"

#include <vector>

namespace troupe::test {

struct ws_frame {
  bool final = false;
  int opcode = -1; // -1: the connection ended
  std::string data;
};

/// A websocket client that can also break the rules.
class ws_client : public raw_client {
public:
  explicit ws_client(const std::string& path, std::string_view target = "/ws") : raw_client{path} {
    send("GET " + std::string{target} +
         " HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    head = take_through("\r\n\r\n");
  }

  bool send_frame(int opcode, std::string_view data, bool final = true, bool masked = true) {
    const unsigned char key[4] = {0x12, 0, 0xff, 0x34};
    std::string bytes;
    bytes += static_cast<char>(opcode | (final ? 0x80 : 0));
    char mask = masked ? static_cast<char>(0x80) : '\0';
    if (data.size() < 126) {
      bytes += static_cast<char>(mask | static_cast<char>(data.size()));
    } else if (data.size() < 65536) {
      bytes += static_cast<char>(mask | 126);
      for (int shift : {8, 0}) bytes += static_cast<char>(data.size() >> shift);
    } else {
      bytes += static_cast<char>(mask | 127);
      for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(data.size() >> shift);
    }
    if (masked) bytes.append(reinterpret_cast<const char*>(key), 4);
    for (size_t i = 0; i < data.size(); ++i) bytes += static_cast<char>(data[i] ^ (masked ? key[i % 4] : 0));
    return send(bytes);
  }

  ws_frame next() {
    ws_frame got;
    auto start = take(2);
    if (start.size() < 2) return got;
    got.final = start[0] & 0x80;
    got.opcode = start[0] & 15;
    size_t size = static_cast<unsigned char>(start[1]) & 127;
    if (size >= 126) {
      auto bytes = take(size == 126 ? 2 : 8);
      size = 0;
      for (unsigned char c : bytes) size = size << 8 | c;
    }
    got.data = take(size);
    return got;
  }

  std::string head;
};

inline int close_code(const ws_frame& frame) {
  if (frame.opcode != 8 || frame.data.size() < 2) return -1;
  return static_cast<unsigned char>(frame.data[0]) << 8 | static_cast<unsigned char>(frame.data[1]);
}

/// Without pings, which on a slow machine could come between what a test expects.
inline http_limits quiet() {
  http_limits made;
  made.ping_period = std::chrono::hours{1};
  return made;
}

/// A server whose websockets the test gets.
struct ws_fixture {
  std::mutex lock;
  std::vector<std::shared_ptr<websocket>> sockets;
  std::function<void(const std::shared_ptr<websocket>&)> ready;
  server_fixture http;

  explicit ws_fixture(std::function<void(const std::shared_ptr<websocket>&)> on_ready = {},
                      http_limits limits = quiet())
      : ready{std::move(on_ready)}, http{[this](http_request, responder answer) {
                                           answer.accept_websocket([this](std::shared_ptr<websocket> socket) {
                                             if (ready) ready(socket);
                                             std::lock_guard guard{lock};
                                             sockets.push_back(std::move(socket));
                                           });
                                         },
                                         limits} {}

  std::shared_ptr<websocket> at(size_t index) {
    REQUIRE(eventually([&] {
      std::lock_guard guard{lock};
      return sockets.size() > index;
    }));
    std::lock_guard guard{lock};
    return sockets[index];
  }
};

inline void echo(const std::shared_ptr<websocket>& socket) {
  socket->on_message([to = std::weak_ptr{socket}](std::string data, bool binary) {
    auto back = to.lock();
    if (!back) return;
    if (binary)
      back->send_binary(std::move(data));
    else
      back->send_text(std::make_shared<const std::string>(std::move(data)));
  });
}

} // namespace troupe::test
