#pragma once

#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "messages/sink.capnp.h"

namespace troupe {

constexpr size_t sinks_max = 64; // each has a thread of its own while it delivers

struct change_sink { // -> operation_record
  enum class verb : uint8_t { create, update, patch, remove };
  verb what = verb::create;
  std::shared_ptr<const header> head;
  std::string name, etag;
  message<schema::SinkPut> body;
  std::string type, start; // create
};
struct delete_dead_letters { // -> operation_record
  std::shared_ptr<const header> head;
  std::string sink;
};

/// The SINKS actor: the records of sinks, and one actor for each. `threads` is theirs alone, so that a receiver that
/// hangs keeps nobody else waiting; it holds sinks_max.
caf::behavior sinks(caf::event_based_actor* self, services& with, blocking_pool& threads);

/// What a request for a sink becomes; see sink_change.cpp.
outcome<std::shared_ptr<saga>> plan_sink_change(const services& with, const change_sink& request);
outcome<std::shared_ptr<saga>> plan_dead_letters_end(const services& with, const delete_dead_letters& request);

/// Where the dead letters of a sink lie in their table.
inline std::string dead_letters_of(std::string_view sink) { return std::string{sink} + '/'; }

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::change_sink)
TROUPE_LOCAL_MESSAGE(troupe::delete_dead_letters)
