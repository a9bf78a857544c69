#pragma once

#include "actors/subscription.hpp"
#include "gateway/door.hpp"

#include <functional>

namespace troupe {

/// Follows the event log for a part of the gateway: from now on, and from where it was when the log begins anew,
/// however often that is. An actor of its own, so that it depends on no door. To be made on the main thread: CAF binds
/// its logger to whatever thread spawns, and waits at the end until that thread has let go.
class event_follower {
public:
  /// `then` runs on an actor's thread, one event after the other, and must not block for long. One call may still be
  /// at work when the destructor returns.
  event_follower(services& with, event_filter filter, std::function<void(const message<schema::Event>&)> then);
  /// From now on, or not any more. Any thread.
  void start();
  void stop();
  event_follower(const event_follower&) = delete;
  ~event_follower();

private:
  caf::actor worker_;
};

} // namespace troupe
