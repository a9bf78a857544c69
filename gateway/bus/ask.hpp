#pragma once

#include "actors/operations.hpp"
#include "gateway/bus/error.hpp"
#include "gateway/bus/place.hpp"
#include "messages/bus.capnp.h"

#include <kj/async.h>
#include <optional>

namespace troupe::on_bus {

// From the bus thread to the actors and the blocking threads, and back by fulfillers that may cross threads.

/// One result on its way back to the bus thread.
template <class T>
struct return_ticket {
  kj::Own<kj::CrossThreadPromiseFulfiller<void>> arrived;
  std::optional<outcome<T>> result;

  void fill(outcome<T> with) {
    result = std::move(with);
    arrived->fulfill();
  }
};

/// A ticket and the promise of what it brings; an error is the promise's.
template <class T>
std::pair<std::shared_ptr<return_ticket<T>>, kj::Promise<T>> make_ticket() {
  auto way = kj::newPromiseAndCrossThreadFulfiller<void>();
  auto ticket = std::make_shared<return_ticket<T>>();
  ticket->arrived = kj::mv(way.fulfiller);
  return {ticket, way.promise.then([ticket]() -> T { return value_of(std::move(*ticket->result)); })};
}

/// The actor's answer.
template <class Reply, class... Args>
kj::Promise<Reply> ask(const place& at, role whom, Args... args) {
  auto [ticket, answer] = make_ticket<Reply>();
  ask_through<Reply>(
      role::bus_door, at.with(), whom, [back = ticket](const outcome<Reply>& reply) { back->fill(reply); },
      std::move(args)...);
  return kj::mv(answer);
}

/// What `work`, which returns an outcome, comes to on a blocking thread.
template <class Work>
auto on_blocking_thread(const place& at, Work work) {
  using value = typename std::invoke_result_t<Work>::value_type;
  auto [ticket, answer] = make_ticket<value>();
  bool taken = at.with().blocking.submit([back = ticket, work = std::move(work)]() mutable { back->fill(work()); });
  if (!taken) refuse(fault::busy, "The server has too much to do right now; try again");
  return kj::mv(answer);
}

/// Parameters as a message that may leave the call.
template <class Schema>
message<Schema> copy_of(typename Schema::Reader from) {
  capnp::MallocMessageBuilder builder;
  builder.setRoot(from);
  return message<Schema>::of(builder);
}

/// Copies a finished message into the results.
template <class Schema>
void reply(const call_ptr& c, const message<Schema>& with) {
  with.read([&](auto reader) { c->context.setResults(reader); });
}

/// Answers with what `work` makes on a blocking thread: an outcome<message<RESULTS>>.
template <class Work>
kj::Promise<void> reply_from_blocking_thread(const call_ptr& c, Work work) {
  return on_blocking_thread(c->at, std::move(work)).then([c](auto&& made) { reply(c, made); });
}

/// Answers with the operation and, where the method gives one, a handle of the thing at `thing` that can be used
/// once the operation has succeeded.
void reply_operation(const call_ptr& c, const operation_record& record, const std::optional<place>& thing);

/// Asks for an operation and answers with it.
template <class... Args>
kj::Promise<void> begin(const call_ptr& c, const std::optional<place>& thing, role whom, Args... args) {
  return ask<operation_record>(c->at, whom, std::move(args)...).then([c, thing](operation_record&& record) {
    reply_operation(c, record, thing);
  });
}

/// Throws the error of an operation that has not succeeded.
void check_success(const operation_record& ended);

} // namespace troupe::on_bus
