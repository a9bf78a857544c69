#include "actors/store_actor.hpp"

#include "actors/permission_upkeep.hpp"
#include "actors/server_keys.hpp"
#include "actors/settle_store.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

struct pending {
  std::shared_ptr<const batch> what;
  sure_promise promise;
};

struct flush {}; // INTERNAL: behind everything that was in the mailbox when the first batch arrived
struct trim {    // INTERNAL
  bool by_clock = false;
};

constexpr int64_t day_ns = 24LL * 3600 * 1'000'000'000;
constexpr uint64_t trim_step_events = 1; // at least; then those who wait for a commit get their turn
constexpr std::chrono::hours trim_period{1};

struct retention {
  int64_t days = 0;
  uint64_t count = 0;
  uint64_t slack() const { return std::clamp<uint64_t>(count / 64, 16, 4096); } // removed together, not one by one
};

struct store_state {
  services& with;
  std::vector<pending> waiting;
  retention keep;
  bool trimming = false;
};

retention read_retention(const services& with) {
  auto records = with.db.read();
  return {server_number(records, "events.retention.days"),
          static_cast<uint64_t>(server_number(records, "events.retention.count"))};
}

bool changes_config(const batch& what) {
  return std::any_of(what.writes.begin(), what.writes.end(), [](auto& w) { return w.where == table::config; });
}

void begin_trim(caf::event_based_actor* self, store_state& state) {
  if (!std::exchange(state.trimming, true)) self->send(self, trim{});
}

void trim_events(caf::event_based_actor* self, store_state& state) {
  state.trimming = false;
  auto before = now_ns() - state.keep.days * day_ns;
  auto more = state.with.db.trim_events(before, state.keep.count, trim_step_events);
  if (!more) return log().warn("Old events could not be removed: {}", more.error().message);
  if (*more) begin_trim(self, state);
}

/// Together, but for what takes a thing away that somebody may have rights on: what becomes of these depends on what
/// was committed before.
std::vector<outcome<committed>> commit_in_order(store& db, const std::vector<pending>& waiting) {
  std::vector<outcome<committed>> out;
  std::vector<batch> together;
  auto commit = [&] {
    if (together.empty()) return;
    for (auto& one : db.commit(together)) out.push_back(std::move(one));
    together.clear();
  };
  for (auto& one : waiting) {
    bool alone = needs_upkeep(db, *one.what);
    if (alone) commit();
    together.push_back(alone ? with_upkeep(db.read(), *one.what) : *one.what);
    if (alone) commit();
  }
  commit();
  return out;
}

void commit_all(caf::event_based_actor* self, store_state& state) {
  if (state.waiting.empty()) return;
  auto waiting = std::exchange(state.waiting, {});
  auto results = commit_in_order(state.with.db, waiting);
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
  auto& db = state.with.db;
  bool configured = std::any_of(waiting.begin(), waiting.end(), [](auto& one) { return changes_config(*one.what); });
  if (configured) state.keep = read_retention(state.with);
  if (configured || db.last_seq() + 1 - db.first_seq() > state.keep.count + state.keep.slack()) begin_trim(self, state);
}

} // namespace

void commit(caf::event_based_actor* self, const services& with, batch what, std::function<void(outcome<void>)> then) {
  ask<committed_ptr>(self, with.find(role::store), propose{std::make_shared<const batch>(std::move(what))},
                     [then = std::move(then)](const outcome<committed_ptr>& done) {
                       then(done ? outcome<void>{} : tl::unexpected{done.error()});
                     });
}

void propose_quietly(caf::event_based_actor* self, const services& with, batch what) {
  commit(self, with, std::move(what), [](const outcome<void>& done) {
    if (!done) log().error("A change could not be recorded: {}", done.error().message);
  });
}
} // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::flush)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::trim)

namespace troupe {

caf::behavior store_actor(caf::event_based_actor* self, services& with) {
  auto state = std::make_shared<store_state>(store_state{with, {}, read_retention(with)});
  self->send(self, trim{true});
  return {
      [self, state](const propose& request) -> caf::response_promise {
        auto promise = promise_of(self);
        if (state->waiting.empty()) self->send(self, flush{});
        state->waiting.push_back({request.what, promise});
        return promise;
      },
      [self, state](flush) { commit_all(self, *state); },
      [self, state](settle_store) {
        commit_all(self, *state);
        return caf::unit;
      },
      [self, state](trim which) {
        trim_events(self, *state);
        if (which.by_clock) self->delayed_send(self, trim_period, trim{true});
      },
  };
}

} // namespace troupe
