#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace troupe {

/// The websocket protocol of one connection, without sockets (wslay). Loop's thread only.
class websocket_frames {
public:
  class user {
  public:
    virtual void on_message(std::string data, bool binary) = 0; // joined from its fragments
    virtual void on_pong() = 0;
    /// Bytes of control frames (pong, ping, close) to send before any data frame that is encoded later.
    virtual void on_control(std::string bytes) = 0;

  protected:
    ~user() = default;
  };

  /// Who made the connection masks what it sends, and takes only what is not masked.
  enum class side : uint8_t { server, client };
  websocket_frames(user& by, size_t message_bytes_max, side at = side::server);
  ~websocket_frames();

  enum class state {
    open,
    closing, // we sent a close frame; the peer's answer is missing
    ended    // the peer closed or broke the rules: send what on_control gave, then close
  };
  state feed(std::string_view bytes);
  void ping(std::string_view payload);
  void close(uint16_t code);

  /// The header of an unfragmented data frame; the payload follows it as it is.
  static std::string data_head(bool binary, size_t payload_size);
  /// The same as a client sends it, and the payload masked.
  static std::string masked_head(bool binary, std::string& payload);

private:
  struct machine;
  std::unique_ptr<machine> machine_;
};

} // namespace troupe
