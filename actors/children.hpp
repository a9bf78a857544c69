#pragma once

#include "actors/services.hpp"

#include <caf/event_based_actor.hpp>
#include <functional>
#include <string>
#include <string_view>

namespace troupe {

/// A child whose end its parent is told of (down_msg).
caf::actor spawn_child(caf::event_based_actor* parent, const services& with, std::string_view kind,
                       const std::string& name, std::function<caf::behavior(caf::event_based_actor*)> behavior);

/// When `self` ends, so do the actors it has spawned: `handles(each)` calls `each` for every one.
void end_children_with(caf::event_based_actor* self,
                       std::function<void(const std::function<void(const caf::actor&)>& each)> handles);

/// It ended otherwise than in order: its parent starts it anew.
bool has_failed(const caf::down_msg& down);

/// Logs that a child has failed and commits the event that tells it: actor-restarted, of "KIND/NAME".
void tell_of_restart(caf::event_based_actor* parent, const services& with, std::string_view kind,
                     const std::string& name, const caf::down_msg& down);

} // namespace troupe
