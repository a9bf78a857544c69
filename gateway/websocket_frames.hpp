#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace troupe {

/// The websocket protocol of one connection, server side, without sockets (wslay). Loop's thread only.
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

  websocket_frames(user& by, size_t message_bytes_max);
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

private:
  struct machine;
  std::unique_ptr<machine> machine_;
};

} // namespace troupe
