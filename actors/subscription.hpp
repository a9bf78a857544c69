#pragma once

#include "actors/event_filter.hpp"
#include "actors/glue.hpp"
#include "messages/envelope.hpp"
#include "messages/event.capnp.h"
#include "messages/message.hpp"

#include <caf/actor_addr.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe {

/// A place in a member's event log: "everything up to and with `seq` is behind me". Sequence numbers are dense, so
/// that a reader who sees every number (or a gap that tells of it) has missed nothing.
struct event_cursor {
  uint32_t epoch = 0;
  std::string member;
  uint64_t seq = 0;

  bool operator==(const event_cursor&) const = default;
};
std::string to_string(const event_cursor& cursor);               // "epoch:member:seq"
outcome<event_cursor> parse_event_cursor(std::string_view text); // fault::invalid

enum class start_at : uint8_t { now, cursor, beginning };

/// One thing a subscriber is told.
struct delivery {
  enum class kind : uint8_t {
    snapshot, // `event`: a row, an object as it was at the marker's moment; its JSON is the event's metadata
    marker,   // the rows are complete; what follows is behind `at`
    event,    // `event`; seq 0: a log line, which is not stored and moves no cursor
    bookmark, // nothing for this subscriber up to `at`
    gap,      // gap_from to gap_to are not kept any more. gap_from 0: the cursor was of another log (epoch or member)
  };
  kind what = kind::event;
  message<schema::Event> event;
  event_cursor at; // go on from here; all but snapshot rows move it
  uint64_t gap_from = 0, gap_to = 0;
};

/// To role::events; answered with subscription_ptr or an error (fault::invalid: the filter or cursor is nonsense).
/// Nothing is delivered before credits are granted.
struct open_subscription {
  std::shared_ptr<const header> head = std::make_shared<header>();
  event_filter filter;
  start_at start = start_at::now; // durable: where a new one begins; an existing one goes on behind its acknowledgement
  event_cursor from;              // with start_at::cursor
  bool snapshot = false;          // rows and a marker first, then everything behind it; excludes `start` and `durable`
  std::string durable;            // name, kept over restarts; the newest reader takes over. Empty: ephemeral
  std::function<void(const delivery&)> deliver; // any thread, must not block; in order; never more than granted
  std::function<void(const error&)> ended;      // any thread, at most once: taken over, deleted, the log restarts.
                                                // Subscribe again from the last cursor. Not called after close()
};

/// The subscriber's end. Thread-safe; dropping the last reference closes. May outlive the events actor.
class subscription {
public:
  subscription(caf::actor_addr events, uint64_t id) : events_{std::move(events)}, id_{id} {}
  subscription(const subscription&) = delete;
  ~subscription() { close(); }

  /// So many deliveries more. Without credits the reader lags and costs nothing; then it reads from the disk.
  void grant(uint32_t credits);
  /// Durable: everything up to and with `seq` is done and is not sent again. Kept on disk within a second; after a
  /// crash before that it is sent again. A number that was not delivered ends the subscription.
  void acknowledge(uint64_t seq);
  void close();

private:
  caf::actor_addr events_;
  uint64_t id_;
};
using subscription_ptr = std::shared_ptr<subscription>;

/// A durable subscription as the list shows it.
struct durable_facts {
  std::string name;
  event_filter filter;
  event_cursor acknowledged;
  int64_t created_at = 0, acknowledged_at = 0; // ns
  std::string owner;                           // user name
  bool connected = false;
  uint64_t lag = 0; // events of the log behind `acknowledged`, also those that do not match
};
using durable_list = std::vector<durable_facts>;

/// To role::events.
struct list_durables {}; // -> durable_list, by name
struct find_durable {    // -> durable_facts; not_found
  std::string name;
};
struct delete_durable { // -> unit; not_found. Its reader is ended
  std::string name;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::open_subscription)
TROUPE_LOCAL_MESSAGE(troupe::subscription_ptr)
TROUPE_LOCAL_MESSAGE(troupe::durable_facts)
TROUPE_LOCAL_MESSAGE(troupe::durable_list)
TROUPE_LOCAL_MESSAGE(troupe::list_durables)
TROUPE_LOCAL_MESSAGE(troupe::find_durable)
TROUPE_LOCAL_MESSAGE(troupe::delete_durable)
