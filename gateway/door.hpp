#pragma once

#include "actors/ask.hpp"
#include "actors/services.hpp"

#include <caf/event_based_actor.hpp>
#include <memory>
#include <string>

namespace troupe {

/// INTERNAL, to a door's actor: a request to be made in its name.
struct door_work {
  std::function<void(caf::event_based_actor* self)> run;
};

/// A DOOR's actor (roles rest_door and bus_door): the gateway's requests to other actors are made in its name. When it
/// fails, those that it waits for are dropped, and the gateway answers them with an error.
caf::behavior door(caf::event_based_actor* self, services& with);

/// Who is at the other end of a unix socket.
principal unix_principal(uint32_t uid);

/// Sends a request to the actor of role `whom`; `then` runs in the door's actor, see actors/ask.hpp. Any thread.
void ask_untyped(role door, const services& with, role whom, caf::message request,
                 std::function<void(const caf::message&)> then);

template <class Reply, class Then, class... Args>
void ask_through(role door, const services& with, role whom, Then then, Args... args) {
  ask_untyped(door, with, whom, caf::make_message(std::move(args)...), into_outcome<Reply>(std::move(then)));
}

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::door_work)
