#pragma once

#include "messages/envelope.hpp"
#include "messages/error.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/atom.hpp>
#include <caf/error.hpp>
#include <caf/make_message.hpp>
#include <caf/response_promise.hpp>
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

inline caf::error to_caf(const error& from) {
  return caf::error{static_cast<uint8_t>(from.code), caf::atom("troupe"), caf::make_message(from.message, from.entity)};
}

inline error from_caf(const caf::error& from) {
  if (from.category() == caf::atom("troupe") && from.context().match_elements<std::string, std::string>())
    return error{static_cast<fault>(from.code()), from.context().get_as<std::string>(0), from.context().get_as<std::string>(1)};
  if (from.category() == caf::atom("system") && from.code() == static_cast<uint8_t>(caf::sec::request_timeout))
    return error{fault::timed_out, "The request was not answered in time"};
  return error{fault::internal, "An internal part failed and was restarted; try again"};
}

template <class T>
void answer(caf::response_promise promise, const outcome<T>& result) {
  if (!result) promise.deliver(to_caf(result.error()));
  else if constexpr (std::is_void_v<T>) promise.deliver(caf::unit);
  else promise.deliver(*result);
}

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::resume)
