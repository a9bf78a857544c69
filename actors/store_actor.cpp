#include "actors/store_actor.hpp"

#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

struct pending {
  std::shared_ptr<const batch> what;
  caf::response_promise promise;
};

struct flush {}; // INTERNAL: behind everything that was in the mailbox when the first batch arrived

constexpr int64_t retention_ns = 7LL * 24 * 3600 * 1'000'000'000;
constexpr uint64_t events_max = 2'000'000;
constexpr uint64_t trim_every = 50'000; // commits

struct store_state {
  services& with;
  std::vector<pending> waiting;
  uint64_t commits = 0;
};

void commit_all(caf::event_based_actor* self, store_state& state) {
  auto waiting = std::exchange(state.waiting, {});
  std::vector<batch> batches;
  batches.reserve(waiting.size());
  for (auto& one : waiting) batches.push_back(*one.what);
  auto results = state.with.db.commit(batches);
  auto events = state.with.find(role::events);
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (!results[i]) {
      waiting[i].promise.deliver(to_caf(results[i].error()));
      continue;
    }
    auto done = std::make_shared<const committed>(std::move(*results[i]));
    if (!done->events.empty()) self->send(events, done);
    waiting[i].promise.deliver(committed_ptr{done});
  }
  if (++state.commits % trim_every == 1) {
    auto now = std::chrono::system_clock::now().time_since_epoch();
    auto trimmed = state.with.db.trim_events(std::chrono::nanoseconds{now}.count() - retention_ns, events_max);
    if (!trimmed) log().warn("Old events could not be removed: {}", trimmed.error().message);
  }
}

} // namespace
} // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::flush)

namespace troupe {

caf::behavior store_actor(caf::event_based_actor* self, services& with) {
  auto state = std::make_shared<store_state>(store_state{with, {}, 0});
  return {
      [self, state](const propose& request) {
        auto promise = self->make_response_promise();
        if (state->waiting.empty()) self->send(self, flush{});
        state->waiting.push_back({request.what, promise});
        return promise;
      },
      [self, state](flush) { commit_all(self, *state); },
  };
}

} // namespace troupe
