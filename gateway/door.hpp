#pragma once

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

/// Sends a request to the actor of role `whom`; `then(outcome<Reply>)` runs in the door's actor. Any thread.
template <class Reply, class Then, class... Args>
void ask_through(role door, const services& with, role whom, Then then, Args... args) {
  auto to = with.find(whom);
  auto run = [to, then = std::move(then), ... args = std::move(args)](caf::event_based_actor* self) mutable {
    if (!to) return then(outcome<Reply>{fail(fault::busy, "This part of the server is being restarted; try again")});
    auto shared = std::make_shared<Then>(std::move(then));
    auto failed = [shared](const caf::error& why) { (*shared)(outcome<Reply>{tl::unexpected{from_caf(why)}}); };
    if constexpr (std::is_void_v<Reply>)
      self->request(to, caf::infinite, std::move(args)...).then([shared] { (*shared)(outcome<void>{}); }, failed);
    else
      self->request(to, caf::infinite, std::move(args)...)
          .then([shared](const Reply& reply) { (*shared)(outcome<Reply>{reply}); }, failed);
  };
  auto shared = std::make_shared<decltype(run)>(std::move(run));
  caf::anon_send(with.find(door), door_work{[shared](caf::event_based_actor* self) { (*shared)(self); }});
}

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::door_work)
