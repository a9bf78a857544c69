#include "actors/promise.hpp"

#include <caf/abstract_actor.hpp>
#include <caf/make_message.hpp>
#include <caf/sec.hpp>

namespace troupe {

// By hand, because `deliver` wants the actor's own context, and the actor may be gone.
sure_promise::shared::~shared() {
  if (!promise.pending() || promise.async()) return;
  if (auto asker = promise.source())
    asker->enqueue(nullptr, promise.id().response_id(),
                   caf::make_message(caf::make_error(caf::sec::request_receiver_down)), nullptr);
}

} // namespace troupe
