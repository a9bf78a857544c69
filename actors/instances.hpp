#pragma once

#include "actors/instance.hpp"

namespace troupe {

/// The daemon has begun: who shall run is started.
struct start_waves {};
/// The host goes down: who runs is stopped, and started again when the daemon begins anew. -> unit, when all are down.
struct stop_waves {};

/// The INSTANCES actor: admission of new instances and the way to each one's actor, which appears at its first message.
/// (envelope<CreateInstance>) -> operation_record
/// (to_instance, REQUEST) for every request of instance.hpp: passed on; error not_found.
caf::behavior instances(caf::event_based_actor* self, services& with);

/// instance_create.cpp: judges the request and turns it into a saga; `id` is the new instance's number.
outcome<std::shared_ptr<saga>> plan_create(const services& with, const envelope<schema::CreateInstance>& request,
                                           uint64_t id);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::start_waves)
TROUPE_LOCAL_MESSAGE(troupe::stop_waves)
