#pragma once

#include "actors/subscription.hpp"
#include "persist/store.hpp"

namespace troupe {

// What the disk has for a reader. All of it blocks and throws std::runtime_error when the file cannot be read.

/// One portion of the log.
struct replay_portion {
  std::vector<delivery> found; // events that match, and gaps; `at` has only its seq
  uint64_t next = 0;           // first number that was not looked at
};
/// From number `next` on: at most `count_max` deliveries, some 1 MiB, and a bounded number of events looked at.
replay_portion replay(const snapshot& from, uint64_t next, const event_matcher& wanted, size_t count_max);

/// The objects a filter covers (of operations: those that run), from one view, each as an event whose metadata is the
/// object's JSON.
struct snapshot_rows {
  std::vector<message<schema::Event>> rows;
  size_t bytes = 0;
  uint64_t last_seq = 0; // what the view has seen
};
/// fault::too_large beyond `bytes_max`.
outcome<snapshot_rows> read_rows(const snapshot& from, const event_matcher& wanted, size_t bytes_max);

/// The newest `count_max` events of an entity before `before` (0: the end), oldest first.
std::vector<message<schema::Event>> entity_history(const snapshot& from, std::string_view kind,
                                                   std::string_view project, std::string_view name, uint64_t before,
                                                   size_t count_max);

} // namespace troupe
