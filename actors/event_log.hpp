#pragma once

#include "actors/services.hpp"
#include "actors/store_actor.hpp"

namespace troupe {

/// One event on its way to the subscribers; rendered once, shared by all.
struct event_frame {
  std::shared_ptr<const std::string> json;
  std::string_view type; // lifecycle, operation, logging
  std::string project;   // empty: reaches everybody
  uint64_t seq = 0;      // 0: not stored (logging)
};

struct subscribe {
  uint64_t id = 0;                                 // chosen by the subscriber, unique in the process
  std::function<void(const event_frame&)> deliver; // thread-safe, must not block
};
struct unsubscribe {
  uint64_t id = 0;
};
struct log_line {
  int level = 0; // spdlog's
  std::string text;
};

/// The EVENTS actor: fans committed events out to live subscribers, in commit order.
/// (committed_ptr), (subscribe), (unsubscribe), (log_line): all without an answer.
caf::behavior event_log(caf::event_based_actor* self, services& with);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::subscribe)
TROUPE_LOCAL_MESSAGE(troupe::unsubscribe)
TROUPE_LOCAL_MESSAGE(troupe::log_line)
