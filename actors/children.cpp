#include "actors/children.hpp"

#include "actors/lifecycle_event.hpp"
#include "actors/store_actor.hpp"

namespace troupe {

caf::actor spawn_child(caf::event_based_actor* parent, const services& with, std::string_view kind,
                       const std::string& name, std::function<caf::behavior(caf::event_based_actor*)> behavior) {
  auto child = parent->spawn<caf::monitored>(std::move(behavior));
  if (with.faults) with.faults->enter(std::string{kind}, name, child);
  return child;
}

void end_children_with(caf::event_based_actor* self,
                       std::function<void(const std::function<void(const caf::actor&)>& each)> handles) {
  self->attach_functor([handles = std::move(handles)] {
    handles([](const caf::actor& child) { caf::anon_send_exit(child, caf::exit_reason::user_shutdown); });
  });
}

bool has_failed(const caf::down_msg& down) {
  return down.reason && down.reason != caf::exit_reason::normal && down.reason != caf::exit_reason::user_shutdown;
}

void tell_of_restart(caf::event_based_actor* parent, const services& with, std::string_view kind,
                     const std::string& name, const caf::down_msg& down) {
  auto who = std::string{kind} + "/" + name;
  auto why = to_string(down.reason);
  with.counted->actor_restarted(std::string{kind});
  log().error("The actor {} failed and is started anew: {}", who, why);
  batch told;
  told.events.push_back(restart_event(who, why));
  propose_quietly(parent, with, std::move(told));
}

} // namespace troupe
