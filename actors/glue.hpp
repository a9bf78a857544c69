#pragma once

#include "actors/promise.hpp"
#include "messages/envelope.hpp"
#include "messages/error.hpp"
#include "runtime/actor_error.hpp"
#include "runtime/log.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/atom.hpp>
#include <caf/delegated.hpp>
#include <caf/error.hpp>
#include <caf/make_message.hpp>
#include <caf/response_promise.hpp>
#include <caf/result.hpp>
#include <caf/send.hpp>
#include <functional>
#include <string>

// Messages that stay inside the process need no serialisation; what crosses a border is an envelope's bytes.
#define TROUPE_LOCAL_MESSAGE(type) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(type)

namespace caf {
template <class Schema>
struct allowed_unsafe_message_type<troupe::envelope<Schema>> : std::true_type {};
template <class Schema>
struct allowed_unsafe_message_type<troupe::message<Schema>> : std::true_type {};
} // namespace caf

namespace troupe {

/// An actor's continuation: what a blocking thread or the loop came back with, to be run in the actor's own context.
struct resume {
  std::function<void()> run;
};

/// Passes the current request on to another actor, which then answers with a `Reply`.
template <class Reply, class Self, class Request>
caf::result<Reply> hand_over(Self* self, const caf::actor& to, const Request& request) {
  self->delegate(to, request);
  return caf::delegated<Reply>{};
}

template <class T>
void answer(sure_promise promise, const outcome<T>& result) {
  if (!result)
    promise.deliver(to_caf(result.error()));
  else if constexpr (std::is_void_v<T>)
    promise.deliver(caf::unit);
  else
    promise.deliver(*result);
}

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::resume)
