#pragma once

#include "actors/subscription.hpp"
#include "gateway/http_server.hpp"

#include <atomic>
#include <memory>

namespace troupe {

/// One websocket on the event log. Credits follow the socket's queue: a client that reads slowly lags, and costs at
/// most one window of events. Made before its socket; `begin` joins the two.
class event_session : public std::enable_shared_from_this<event_session> {
public:
  enum class dialect : uint8_t {
    lxd,    // what stock clients know: events only
    cursors // also snapshot, marker, bookmark, gap and error frames; every frame that moves the cursor carries it
  };
  explicit event_session(dialect speaks) : speaks_{speaks} {}

  /// For open_subscription. Any thread; one call at a time.
  void deliver(const delivery& what);
  void ended(const error& why);

  /// On the loop's thread. The socket keeps the subscription, and with it this, until it closes.
  void begin(std::shared_ptr<websocket> socket, const subscription_ptr& events);

private:
  void send(std::string text);
  void send(std::shared_ptr<const std::string> text);
  void top_up(uint32_t least);
  void hear(const std::string& text);

  dialect speaks_;
  std::weak_ptr<websocket> socket_;
  std::weak_ptr<subscription> events_;
  std::atomic<uint32_t> owed_{0}; // credits used and not granted again
};

} // namespace troupe
