#pragma once

#include "actors/services.hpp"

#include <functional>

namespace caf {
class event_based_actor;
}

namespace troupe {

/// Sends a request; `then` gets what came back, a `caf::error` alone if it failed. Everything that asks goes through
/// here: CAF's own handlers are templates on both callbacks, and each pair of them takes the compiler half a second.
void ask_untyped(caf::event_based_actor* self, const caf::actor& whom, caf::message request,
                 std::function<void(const caf::message&)> then);

std::optional<error> error_in(const caf::message& answer);

/// What calls `then(outcome<Reply>)` with an answer.
template <class Reply, class Then>
std::function<void(const caf::message&)> into_outcome(Then then) {
  return [then = std::move(then)](const caf::message& answer) mutable {
    if (auto why = error_in(answer))
      then(outcome<Reply>{tl::unexpected{std::move(*why)}});
    else if constexpr (std::is_void_v<Reply>)
      then(outcome<void>{});
    else
      then(outcome<Reply>{answer.get_as<Reply>(0)});
  };
}

/// Sends a request; `then(outcome<Reply>)` runs in the asker's context, in any case unless the asker ends first.
template <class Reply, class Request, class Then>
void ask(caf::event_based_actor* self, const caf::actor& whom, Request request, Then then) {
  ask_untyped(self, whom, caf::make_message(std::move(request)), into_outcome<Reply>(std::move(then)));
}

/// The same, and what comes back is the answer to who asked us.
template <class Reply, class Request>
void ask_for(sure_promise promise, caf::event_based_actor* self, const caf::actor& whom, Request request) {
  ask<Reply>(self, whom, std::move(request), [promise](const outcome<Reply>& result) { answer(promise, result); });
}

/// A request whose answer matters only if it is an error, which is logged.
template <class Request>
void tell(caf::event_based_actor* self, const caf::actor& whom, Request request) {
  ask<void>(self, whom, std::move(request), [](const outcome<void>& done) {
    if (!done) log().error("{}", done.error().message);
  });
}

} // namespace troupe
