#pragma once

#include <caf/delegated.hpp>
#include <caf/response_promise.hpp>
#include <caf/result.hpp>
#include <memory>
#include <utility>

namespace troupe {

/// A response promise that is answered in any case. CAF never answers a request whose promise was dropped: who asked an
/// actor that failed at its work would wait for ever. Here, when the last copy goes unanswered, the asker gets the
/// error of a request to an actor that has ended. Copies share one promise; deliver in the actor's context, drop
/// anywhere.
class sure_promise {
public:
  sure_promise() = default; // of nothing
  explicit sure_promise(caf::response_promise from) : state_{std::make_shared<shared>(std::move(from))} {}

  template <class T>
  void deliver(T&& value) const {
    state_->promise.deliver(std::forward<T>(value));
    state_->turn.reset();
  }
  /// The turn of a step (step_turns.hpp); let go with the answer.
  void hold(std::shared_ptr<void> turn) const { state_->turn = std::move(turn); }
  bool pending() const { return state_ && state_->promise.pending(); }

  // What a handler returns: the answer comes later.
  operator caf::response_promise() const { return state_->promise; }
  template <class T>
  operator caf::result<T>() const {
    return caf::delegated<T>{};
  }

private:
  struct shared {
    caf::response_promise promise;
    std::shared_ptr<void> turn;

    explicit shared(caf::response_promise from) : promise{std::move(from)} {}
    shared(const shared&) = delete;
    ~shared();
  };
  std::shared_ptr<shared> state_;
};

template <class Self>
sure_promise promise_of(Self* self) {
  return sure_promise{self->make_response_promise()};
}

} // namespace troupe
