#pragma once

#include "actors/services.hpp"

#include <caf/event_based_actor.hpp>
#include <string>
#include <string_view>

namespace troupe {

/// A child whose end its parent is told of (down_msg).
template <class Self, class Behavior>
caf::actor spawn_child(Self* parent, const services& with, std::string_view kind, const std::string& name,
                       Behavior behavior) {
  auto child = parent->template spawn<caf::monitored>(std::move(behavior));
  if (with.faults) with.faults->enter(std::string{kind}, name, child);
  return child;
}

/// It ended otherwise than in order: its parent starts it anew.
bool has_failed(const caf::down_msg& down);

/// Logs that a child has failed and commits the event that tells it: actor-restarted, of "KIND/NAME".
void tell_of_restart(caf::event_based_actor* parent, const services& with, std::string_view kind,
                     const std::string& name, const caf::down_msg& down);

} // namespace troupe
