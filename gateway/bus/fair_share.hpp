#pragma once

#include <kj/time.h>

namespace troupe::on_bus {

/// How many calls a session may have at work. One that is alone may have many; while others call too, each has few, so
/// that what stands before a neighbour's call in any queue behind the bus is a matter of a few calls. On the bus
/// thread.
class fair_share {
public:
  explicit fair_share(const kj::MonotonicClock& clock) : clock_{clock} {}

  /// This session has made a call.
  void called(const void* session);
  size_t at_work_max(const void* session) const;

private:
  struct call {
    const void* session = nullptr; // to compare only
    kj::TimePoint at = kj::origin<kj::TimePoint>();
  };

  const kj::MonotonicClock& clock_;
  call latest_, before_; // of two different sessions
};

} // namespace troupe::on_bus
