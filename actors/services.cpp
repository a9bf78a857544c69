#include "actors/services.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_registry.hpp>

namespace troupe {
namespace {

constexpr caf::atom_value names[role_count] = {
    caf::atom("store"),     caf::atom("events"),   caf::atom("operations"), caf::atom("images"),    caf::atom("pools"),
    caf::atom("networks"),  caf::atom("profiles"), caf::atom("projects"),   caf::atom("instances"), caf::atom("server"),
    caf::atom("sinks"),     caf::atom("certs"),    caf::atom("scheduler"),  caf::atom("idents"),    caf::atom("doors"),
    caf::atom("rest_door"), caf::atom("bus_door"),
};

} // namespace

caf::actor services::find(role who) const {
  return caf::actor_cast<caf::actor>(system.registry().get(names[static_cast<size_t>(who)]));
}

void services::enter(role who, const caf::actor& self) const {
  auto name = names[static_cast<size_t>(who)];
  system.registry().erase(name); // `put` keeps what is there, which is the dead one after a restart
  system.registry().put(name, caf::actor_cast<caf::strong_actor_ptr>(self));
}

void services::forget_all() const {
  for (auto name : names) system.registry().erase(name);
}

} // namespace troupe
