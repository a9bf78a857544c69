#include "actors/children.hpp"

#include "actors/lifecycle_event.hpp"
#include "actors/store_actor.hpp"

namespace troupe {

bool has_failed(const caf::down_msg& down) {
  return down.reason && down.reason != caf::exit_reason::normal && down.reason != caf::exit_reason::user_shutdown;
}

void tell_of_restart(caf::event_based_actor* parent, const services& with, std::string_view kind,
                     const std::string& name, const caf::down_msg& down) {
  auto who = std::string{kind} + "/" + name;
  auto why = to_string(down.reason);
  log().error("The actor {} failed and is started anew: {}", who, why);
  batch told;
  told.events.push_back(restart_event(who, why));
  propose_quietly(parent, with, std::move(told));
}

} // namespace troupe
