#pragma once

#include "actors/services.hpp"

namespace troupe {

/// The SCHEDULER actor: takes and removes the snapshots that are due (`snapshots.schedule`, `expires_at`). It knows one
/// moment of each instance, from the records at its start and from the event log since, and sleeps until the first.
/// What was due while no daemon ran is not made up for, but for snapshots that have expired.
caf::behavior scheduler(caf::event_based_actor* self, services& with);

} // namespace troupe
