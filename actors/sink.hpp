#pragma once

#include "actors/services.hpp"
#include "actors/subscription.hpp"
#include "backends/sink/sink_writer.hpp"

namespace troupe {

/// INTERNAL, sinks -> sink: end in order. Answered when nothing is being written any more and the cursor is kept. ->
/// unit
struct stop_sink {};

/// The SINK actor: carries events from the log to one receiver, in order, from the cursor it keeps. At most
/// `deliveries_max` events wait in it; while the receiver fails it waits too, and the log keeps the rest.
caf::behavior sink(caf::event_based_actor* self, services& with, blocking_pool& threads, const std::string& name);
/// The same with a writer of the test's.
caf::behavior sink(caf::event_based_actor* self, services& with, blocking_pool& threads, const std::string& name,
                   std::shared_ptr<sink_writer> writer);

/// What a receiver gets of a delivery (an event or a gap).
sink_record to_record(const delivery& from);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::stop_sink)
