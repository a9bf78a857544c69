#include "runtime/measured_actor.hpp"

#include <chrono>

namespace troupe {

void measured_actor::enqueue(caf::mailbox_element_ptr message, caf::execution_unit* on) {
  figures_->waiting.fetch_add(1, std::memory_order_relaxed);
  caf::event_based_actor::enqueue(std::move(message), on);
}

caf::invoke_message_result measured_actor::consume(caf::mailbox_element& message) {
  auto figures = figures_; // the actor may end with this message
  auto begun = std::chrono::steady_clock::now();
  auto result = caf::event_based_actor::consume(message);
  if (result == caf::invoke_message_result::skipped) return result; // it comes again
  std::chrono::nanoseconds took = std::chrono::steady_clock::now() - begun;
  figures->busy_ns.fetch_add(static_cast<uint64_t>(took.count()), std::memory_order_relaxed);
  figures->handled.fetch_add(1, std::memory_order_relaxed);
  figures->waiting.fetch_sub(1, std::memory_order_relaxed);
  return result;
}

} // namespace troupe
