#include "actors/instance_status.hpp"

#include "actors/instance_waves.hpp"
#include "actors/store_actor.hpp"

#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

const header& internal_head(const std::string& project) {
  static thread_local header head;
  head = {};
  head.project = project;
  return head;
}

// The status as it is now and the transitions that led to it, in the order they happened.
void add_status(const instance_ptr& me, batch& to) {
  to.writes.push_back(put(table::statuses, me->id(), me->status));
  for (auto& event : std::exchange(me->untold, {})) to.events.push_back(std::move(event));
}

// Transitions that no commit has taken along by the end of this message are committed by themselves; nobody waits.
void tell_soon(const instance_ptr& me) {
  me->self->send(caf::actor_cast<caf::actor>(me->self), resume{[me] {
                   if (me->untold.empty()) return;
                   me->status =
                       changed(me->status, [&](schema::InstanceStatus::Builder status) { status.setState(me->now); });
                   batch change;
                   add_status(me, change);
                   propose_quietly(me->self, me->with, std::move(change));
                 }});
}

} // namespace

void enter(const instance_ptr& me, instance_state to) {
  if (to == me->now) return;
  auto from = words_of(me->now).word, word = words_of(to).word;
  log().info("Instance {}: {} -> {}", me->id(), from, word);
  me->now = to;
  me->untold.push_back(lifecycle_event(internal_head(me->project), "instance", me->name, "instance-state-changed",
                                       me->url(), {{"from", std::string{from}}, {"to", std::string{word}}}));
  tell_soon(me);
}

bool move(const instance_ptr& me, trigger on) {
  auto to = next(me->now, on);
  if (to) enter(me, *to);
  return to.has_value();
}

status_record status_now(const instance_ptr& me, const boot_result* alive) {
  return changed(me->status, [&](schema::InstanceStatus::Builder status) {
    status.setState(me->now);
    if (alive || me->now == instance_state::STOPPED) status.setReady(false);
    status.setBootId(boot_id());
    if (alive) {
      status.setLeader(alive->leader);
      status.setMonitor(alive->monitor);
      status.setMonitorStart(alive->monitor_start);
      status.setLastUsedAt(now_ns());
      status.setBootedAt(now_ns());
    } else if (me->now == instance_state::STOPPED || me->now == instance_state::ERROR) {
      status.setLeader(0);
      status.setMonitor(0);
      status.setMonitorStart(0);
      status.setLastUsedAt(now_ns());
    }
  });
}

std::shared_ptr<step_result> result_with(const instance_ptr& me, std::string_view action) {
  auto result = std::make_shared<step_result>();
  add_status(me, result->more);
  if (!action.empty())
    result->more.events.push_back(lifecycle_event(internal_head(me->project), "instance", me->name, action, me->url()));
  return result;
}

std::shared_ptr<step_result> result_with(const instance_ptr& me, const header& head, std::string_view action) {
  auto result = std::make_shared<step_result>();
  add_status(me, result->more);
  result->more.events.push_back(lifecycle_event(head, "instance", me->name, action, me->url()));
  return result;
}

void record_unasked(const instance_ptr& me, std::string_view action, config_map context) {
  batch change;
  add_status(me, change);
  change.events.push_back(
      lifecycle_event(internal_head(me->project), "instance", me->name, action, me->url(), std::move(context)));
  propose_quietly(me->self, me->with, std::move(change));
}

void record_state(const instance_ptr& me, const std::string& reason) {
  me->status = changed(me->status, [&](schema::InstanceStatus::Builder status) {
    status.setState(me->now);
    status.setReason(reason);
  });
  batch change;
  add_status(me, change);
  propose_quietly(me->self, me->with, std::move(change));
}

void enter_error(const instance_ptr& me, const error& why) {
  if (move(me, trigger::undo_failed)) record_state(me, why.message);
}

} // namespace troupe
