#include "actors/sinks.hpp"

#include "actors/children.hpp"
#include "actors/sink.hpp"
#include "actors/store_actor.hpp"

#include <caf/event_based_actor.hpp>
#include <map>

namespace troupe {

struct revive_sink { // INTERNAL: its actor failed a moment ago
  std::string name;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::revive_sink)

namespace troupe {
namespace {

constexpr std::chrono::seconds revival_delay{1};

struct sinks_data {
  services& with;
  caf::event_based_actor* self;
  blocking_pool& threads;
  std::map<std::string, caf::actor> all;
};
using data_ptr = std::shared_ptr<sinks_data>;

bool is_recorded(const data_ptr& me, const std::string& name) {
  return me->with.db.read().get(table::sinks, name).has_value();
}

void start(const data_ptr& me, const std::string& name) {
  auto start = [&with = me->with, &threads = me->threads, name](caf::event_based_actor* child) {
    return sink(child, with, threads, name);
  };
  me->all[name] = spawn_child(me->self, me->with, "sink", name, start);
}

void start_recorded(const data_ptr& me) {
  me->with.db.read().scan(table::sinks, "", [&](std::string_view name, std::string_view) {
    start(me, std::string{name});
    return true;
  });
}

// What the deleted sink had of its own. Its actor has ended, so nothing of it comes behind.
void forget_state(const data_ptr& me, const std::string& name, sure_promise promise) {
  batch change;
  change.writes.push_back(erase(table::sink_statuses, name));
  me->with.db.read().scan(table::dead_letters, dead_letters_of(name), [&](std::string_view key, std::string_view) {
    change.writes.push_back(erase(table::dead_letters, std::string{key}));
    return true;
  });
  commit(me->self, me->with, std::move(change), [promise](const outcome<void>& done) {
    if (!done) return promise.deliver(to_caf(done.error()));
    promise.deliver(std::make_shared<const step_result>());
  });
}

// `before` has ended: the record as it is now holds from here on.
void go_on(const data_ptr& me, const std::string& name, const caf::actor& before, sure_promise promise) {
  auto at = me->all.find(name);
  bool replaced = at != me->all.end() && at->second != before; // by a change that came at the same time
  if (!is_recorded(me, name)) {
    if (!replaced) me->all.erase(name);
    return forget_state(me, name, promise);
  }
  if (!replaced) start(me, name);
  promise.deliver(std::make_shared<const step_result>());
}

void apply(const data_ptr& me, const saga_step& step, sure_promise promise) {
  auto name = std::string{get(step.args, "sink")};
  auto running = me->all.find(name);
  if (running == me->all.end()) {
    return go_on(me, name, {}, promise);
  }
  auto before = running->second;
  // An error says that it has ended by itself.
  auto stopped = [me, name, before, promise](const outcome<void>&) { go_on(me, name, before, promise); };
  ask<void>(me->self, before, stop_sink{}, stopped);
}

caf::result<operation_record> begin(const data_ptr& me, outcome<std::shared_ptr<saga>> plan) {
  if (!plan) return to_caf(plan.error());
  return hand_over<operation_record>(me->self, me->with.find(role::operations), begin_saga{*plan});
}

void note_end(const data_ptr& me, const caf::down_msg& down) {
  for (auto& [name, child] : me->all) {
    if (child.address() != down.source || !has_failed(down)) continue;
    tell_of_restart(me->self, me->with, "sink", name, down);
    me->self->delayed_send(me->self, revival_delay, revive_sink{name});
    me->all.erase(name);
    return;
  }
}

} // namespace

caf::behavior sinks(caf::event_based_actor* self, services& with, blocking_pool& threads) {
  auto me = std::make_shared<sinks_data>(sinks_data{with, self, threads, {}});
  start_recorded(me);
  end_children_with(self, [me](auto each) {
    for (auto& [name, child] : me->all) each(child);
  });
  self->set_down_handler([me](caf::down_msg& down) { note_end(me, down); });
  return {
      [me](const change_sink& request) { return begin(me, plan_sink_change(me->with, request)); },
      [me](const delete_dead_letters& request) { return begin(me, plan_dead_letters_end(me->with, request)); },
      [me](const step_act& act) {
        return in_turn(me->self, me->with, act.operation,
                       [me, step = act.step](sure_promise promise) { apply(me, step, promise); });
      },
      [](const step_undo&) { return caf::unit; },
      [me](const revive_sink& lost) {
        if (!me->all.count(lost.name) && is_recorded(me, lost.name)) start(me, lost.name);
      },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
