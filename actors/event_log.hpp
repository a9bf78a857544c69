#pragma once

#include "actors/services.hpp"
#include "actors/store_actor.hpp"
#include "actors/subscription.hpp"

namespace troupe {

struct log_line {
  int level = 0; // spdlog's
  std::string text;
};

/// From a subscription to the events actor.
struct grant_credits {
  uint64_t id = 0;
  uint32_t credits = 0;
};
struct acknowledge_events {
  uint64_t id = 0;
  uint64_t seq = 0;
};
struct close_subscription {
  uint64_t id = 0;
};

/// The EVENTS actor: tells subscribers what was committed, in order, from memory while they keep up and from the disk
/// when they do not. Never in the writer's way.
/// (open_subscription) -> subscription_ptr; (list_durables) -> durable_list; (find_durable) -> durable_facts;
/// (delete_durable) -> unit; (committed_ptr), (log_line) and what a subscription sends: without an answer.
caf::behavior event_log(caf::event_based_actor* self, services& with);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::log_line)
TROUPE_LOCAL_MESSAGE(troupe::grant_credits)
TROUPE_LOCAL_MESSAGE(troupe::acknowledge_events)
TROUPE_LOCAL_MESSAGE(troupe::close_subscription)
