#pragma once

#include "actors/services.hpp"

#include <caf/event_based_actor.hpp>
#include <memory>
#include <string>

namespace troupe {

/// The gateway's own actor: requests to other actors are made in its name. `self` is valid while the daemon runs.
struct door {
  caf::actor handle;
  caf::event_based_actor* self = nullptr;
};

/// Spawns one; whoever does ends it with an exit message.
door open_door(caf::actor_system& system);

/// Who is at the other end of a unix socket.
principal unix_principal(uint32_t uid);

/// Sends a request to the actor of that role; `then(outcome<Reply>)` runs in the door's actor. Any thread.
template <class Reply, class Then, class... Args>
void ask_through(const door& asks, const services& with, role whom, Then then, Args... args) {
  auto to = with.find(whom);
  auto run = [self = asks.self, to, then = std::move(then), ... args = std::move(args)]() mutable {
    if (!to) return then(outcome<Reply>{fail(fault::busy, "This part of the server is being restarted; try again")});
    auto shared = std::make_shared<Then>(std::move(then));
    auto failed = [shared](const caf::error& why) { (*shared)(outcome<Reply>{tl::unexpected{from_caf(why)}}); };
    if constexpr (std::is_void_v<Reply>)
      self->request(to, caf::infinite, std::move(args)...).then([shared] { (*shared)(outcome<void>{}); }, failed);
    else
      self->request(to, caf::infinite, std::move(args)...)
          .then([shared](const Reply& reply) { (*shared)(outcome<Reply>{reply}); }, failed);
  };
  caf::anon_send(asks.handle, resume{[run = std::make_shared<decltype(run)>(std::move(run))] { (*run)(); }});
}

} // namespace troupe
