#pragma once

#include "gateway/http_server.hpp"

#include <deque>
#include <mutex>

namespace troupe {

/// A websocket for a thread that waits: what comes is kept (then the peer waits), what is sent waits for room. One
/// thread uses it; `close` is for every thread.
class message_channel : public std::enable_shared_from_this<message_channel> {
public:
  static std::shared_ptr<message_channel> over(std::shared_ptr<websocket> socket);
  explicit message_channel(std::shared_ptr<websocket> socket);
  ~message_channel();

  /// Text without content ends a part of what is said.
  struct message {
    std::string data;
    bool binary = true;
    bool ends_part() const { return !binary; }
  };
  enum class state : uint8_t { message, nothing, closed };
  state take(message& into); // without waiting
  /// fault::timed_out, or backend_failed when the peer is gone.
  outcome<message> receive(std::chrono::milliseconds within);
  /// All binary messages up to the end of the part, joined; fault::too_large beyond `bytes_max`.
  outcome<std::string> receive_part(std::chrono::milliseconds within, size_t bytes_max);

  bool has_room() const;             // for another message
  bool send(std::string data) const; // false: the peer is gone
  bool end_part() const;
  void close(); // once what was sent has gone

  /// Readable when something has come, room was made or the peer has gone, since `clear`.
  int changed_fd() const { return changed_.get(); }
  void clear() const;

private:
  void begin();
  void came(std::string data, bool binary);
  void tell() const;

  const std::shared_ptr<websocket> socket_;
  unique_fd changed_;
  mutable std::mutex lock_; // guards all below
  std::deque<message> waiting_;
  size_t waiting_bytes_ = 0;
  bool paused_ = false;
  bool closed_ = false;
};

} // namespace troupe
