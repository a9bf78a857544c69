#pragma once

#include "persist/transaction.hpp"

namespace troupe {

/// An event as the log keeps it: `event` with its number, owner and (if it had none) time.
message<schema::Event> stamp_event(const message<schema::Event>& event, uint32_t epoch, const std::string& member,
                                   uint64_t seq, int64_t now);

/// The event's key prefix in `history`; empty for an event without a kind, which has no history.
std::string history_of(const message<schema::Event>& event);

/// Removes at most `count_max` events from the front of the log: those older than `before` (ns) or numbered below
/// `first_kept`. Returns the first number that is left, `end` if none is.
uint64_t trim_front(write_txn& local, int64_t before, uint64_t first_kept, uint64_t end, size_t count_max);

} // namespace troupe
