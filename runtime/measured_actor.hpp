#pragma once

#include "runtime/mailbox_figures.hpp"

#include <caf/event_based_actor.hpp>
#include <functional>
#include <memory>

namespace troupe {

/// An actor that counts its messages.
class measured_actor : public caf::event_based_actor {
public:
  using start = std::function<caf::behavior(caf::event_based_actor*)>;

  measured_actor(caf::actor_config& config, std::shared_ptr<mailbox_figures> figures, start begin)
      : caf::event_based_actor{config}, figures_{std::move(figures)}, begin_{std::move(begin)} {}

  void enqueue(caf::mailbox_element_ptr message, caf::execution_unit* on) override;
  caf::invoke_message_result consume(caf::mailbox_element& message) override;

protected:
  caf::behavior make_behavior() override { return begin_(this); }

private:
  std::shared_ptr<mailbox_figures> figures_;
  start begin_;
};

} // namespace troupe
