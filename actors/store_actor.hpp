#pragma once

#include "actors/ask.hpp"

namespace troupe {

/// A change for the store; answered with `committed_ptr` once it is on disk. Batches that wait together share one
/// commit.
struct propose {
  std::shared_ptr<const batch> what;
};
using committed_ptr = std::shared_ptr<const committed>;

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::propose)
TROUPE_LOCAL_MESSAGE(troupe::committed_ptr)

namespace troupe {

/// Proposes a change whose commit nobody waits for; a failure is logged.
void propose_quietly(caf::event_based_actor* self, const services& with, batch what);

/// Proposes a change; `then` runs in the proposer's context once it is on disk or was refused.
void commit(caf::event_based_actor* self, const services& with, batch what, std::function<void(outcome<void>)> then);

/// The STORE actor: the single writer of LMDB, on a thread of its own because a commit blocks.
/// (propose) -> committed_ptr. After each commit it sends (committed_ptr) to the events actor.
caf::behavior store_actor(caf::event_based_actor* self, services& with);

} // namespace troupe
