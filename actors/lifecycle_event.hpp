#pragma once

#include "messages/config_map.hpp"
#include "messages/envelope.hpp"
#include "messages/event.capnp.h"
#include "messages/operation.capnp.h"

#include <string>
#include <string_view>

namespace troupe {

/// A lifecycle event as LXD's clients know it: `action` "instance-started", `source` "/1.0/instances/c1".
message<schema::Event> lifecycle_event(const header& head, std::string_view kind, std::string_view entity,
                                       std::string_view action, std::string_view source,
                                       const config_map& context = {});

/// A part of the daemon failed and was started again.
message<schema::Event> restart_event(const std::string& actor, const std::string& why);

/// The event of an operation's transition; its metadata is what REST shows of the operation.
message<schema::Event> operation_event(const message<schema::Operation>& record);

/// The Operation object of REST, status and status_code worked out from the state.
std::string operation_json(const message<schema::Operation>& record);

/// LXD's status word and number of an operation's state.
struct status_word {
  std::string_view word;
  int code;
};
status_word status_of(schema::Operation::State state);

/// An event as LXD's websocket shows it; with a cursor, that too.
std::string event_json(schema::Event::Reader event, std::string_view cursor = {});

/// The name of an event's type: lifecycle, operation, logging.
std::string_view type_name(schema::Event::Type type);

void fill(schema::Principal::Builder into, const principal& from);

} // namespace troupe
