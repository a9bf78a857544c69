#include "actors/instance.hpp"
#include "actors/ask.hpp"
#include "actors/guest.hpp"
#include "actors/inside.hpp"
#include "actors/instance_adapt.hpp"
#include "actors/instance_backup.hpp"
#include "actors/instance_copy.hpp"
#include "actors/instance_guest.hpp"
#include "actors/operation_record.hpp"
#include "actors/pools.hpp"
#include "actors/project_claims.hpp"
#include "actors/retention.hpp"
#include "actors/store_actor.hpp"

#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

constexpr size_t queue_max = 64;

using planner = std::function<outcome<std::shared_ptr<saga>>()>;

void serve_next(const instance_ptr& me) {
  if (me->busy || me->queue.empty()) return;
  auto next = std::move(me->queue.front());
  me->queue.pop_front();
  next();
}

void give_back_claim(const instance_ptr& me) {
  if (auto whose = std::exchange(me->claimed, {}); !whose.empty())
    me->self->send(me->with.find(role::instances), release_use{whose});
}

void refuse(const instance_ptr& me, const sure_promise& promise, const error& why, bool exclusive) {
  promise.deliver(to_caf(why));
  if (!exclusive) return;
  give_back_claim(me);
  me->busy = false;
  serve_next(me);
}

void submit(const instance_ptr& me, const std::shared_ptr<saga>& work, const sure_promise& promise, bool exclusive) {
  auto begun = [me, promise, exclusive](const outcome<operation_record>& record) {
    if (!record) return refuse(me, promise, record.error(), exclusive);
    if (exclusive) me->busy_with = id_of(*record);
    promise.deliver(*record);
  };
  ask<operation_record>(me->self, me->with.find(role::operations), begin_saga{work}, begun);
}

void begin(const instance_ptr& me, const planner& plan, const sure_promise& promise, bool exclusive) {
  auto work = plan();
  if (!work) {
    promise.deliver(to_caf(work.error()));
    return serve_next(me);
  }
  if (exclusive) me->busy = true;
  if (!(*work)->claim) return submit(me, *work, promise, exclusive);
  auto whose = (*work)->claimant.empty() ? me->id() : (*work)->claimant;
  auto granted = [me, work = *work, promise, exclusive, whose](const outcome<void>& yes) {
    if (!yes) return refuse(me, promise, yes.error(), exclusive);
    me->claimed = whose;
    submit(me, work, promise, exclusive);
  };
  ask<void>(me->self, me->with.find(role::instances), claim_use{whose, me->id(), *(*work)->claim}, granted);
}

// Beside whatever else is changed: nothing of the instance itself is.
caf::response_promise aside(const instance_ptr& me, const planner& plan) {
  auto promise = promise_of(me->self);
  begin(me, plan, promise, false);
  return promise;
}

// One change after the other. A forced stop does not wait behind what it is there to end.
caf::response_promise change(const instance_ptr& me, const planner& plan, bool urgent = false) {
  auto promise = promise_of(me->self);
  if (urgent)
    begin(me, plan, promise, !me->busy);
  else if (!me->busy)
    begin(me, plan, promise, true);
  else if (me->queue.size() >= queue_max)
    promise.deliver(to_caf({fault::busy, "Too many changes of this instance are waiting; try again"}));
  else
    me->queue.push_back([me, plan, promise] { begin(me, plan, promise, true); });
  return promise;
}

bool is_forced_stop(const envelope<schema::ChangeInstanceState>& request) {
  return request.body.read(
      [](schema::ChangeInstanceState::Reader put) { return put.getForce() && view(put.getAction()) == "stop"; });
}

caf::response_promise exec(const instance_ptr& me, const run_exec& request) {
  auto promise = promise_of(me->self);
  if (me->now != instance_state::RUNNING) {
    promise.deliver(to_caf(
        {fault::wrong_state, me->now == instance_state::FROZEN ? "Instance is frozen" : "Instance is not running"}));
    return promise;
  }
  using result = outcome<exec_session_ptr>;
  inside_instance(
      me->self, me->with, me->key(),
      [&driver = me->driver(), key = me->key(), leader = me->status.read([](auto s) { return s.getLeader(); }),
       plan = request.plan, console = request.console]() -> result {
        auto session =
            console ? driver.console(key, plan->width, plan->height) : driver.exec(key, leader, std::move(*plan));
        if (!session) return tl::unexpected{session.error()};
        return exec_session_ptr{std::move(*session)};
      },
      [promise](const result& session) mutable { answer(promise, session); });
  return promise;
}

bool has_processes(instance_state now) {
  return now == instance_state::RUNNING || now == instance_state::FROZEN || now == instance_state::STOPPING;
}

caf::response_promise locate(const instance_ptr& me) {
  auto promise = promise_of(me->self);
  auto spec = me->spec();
  if (!spec) {
    promise.deliver(to_caf({fault::not_found, "Instance not found"}));
    return promise;
  }
  auto found = std::make_shared<located_root>();
  found->key = me->key();
  found->driver = &me->driver();
  bool up = has_processes(me->now);
  if (up) found->leader = me->status.read([](auto s) { return s.getLeader(); });
  auto pool = spec->read([&](schema::InstanceSpec::Reader s) {
    if (!is_true(get(expand(me->with.db.read(), s).config, "security.privileged")))
      found->ids = {s.getIdmapBase(), s.getIdmapSize()};
    return text(s.getPool());
  });
  if (up) // its ids are those it was booted with, whatever it gets the next time
    me->status.read([&](schema::InstanceStatus::Reader s) {
      if (s.hasBooted()) found->ids = {s.getIdmapBase(), s.getIdmapSize()};
    });
  auto located = [promise, found](const outcome<root_mount_ptr>& root) {
    if (!root) return promise.deliver(to_caf(root.error()));
    found->root = **root;
    promise.deliver(file_root_ptr{found});
  };
  ask<root_mount_ptr>(me->self, me->with.find(role::pools), locate_volume{pool, volume_named(me->volume())}, located);
  return promise;
}

} // namespace

caf::behavior instance(caf::event_based_actor* self, services& with, std::string project, std::string name) {
  auto me = std::make_shared<instance_data>(instance_data{with, self, std::move(project), std::move(name)});
  if (auto spec = me->spec()) me->type = spec->read([](auto s) { return s.getType(); });
  if (auto recorded = load<schema::InstanceStatus>(with.db.read(), table::statuses, me->id())) restore(me, *recorded);
  self->attach_functor([me] { // the actor's state refers to itself: let go
    me->queue.clear();
    me->when_clear.clear();
    me->adaptations.clear();
    me->forwarding.clear();
    me->halting = {};
    me->monitor_watch.reset();
    me->leader_watch.reset();
  });
  return {
      [me](const envelope<schema::UpdateInstance>& request) {
        return change(me, [me, request] { return plan_update(*me, request); });
      },
      [me](const envelope<schema::RenameInstance>& request) {
        return change(me, [me, request] { return plan_rename(*me, request); });
      },
      [me](const envelope<schema::RebuildInstance>& request) {
        return change(me, [me, request] { return plan_rebuild(*me, request); });
      },
      [me](const envelope<schema::CreateInstance>& request) {
        return change(me, [me, request] { return plan_refresh(*me, request); });
      },
      [me](const envelope<schema::ChangeInstanceState>& request) {
        return change(
            me, [me, request] { return plan_state_change(*me, request); }, is_forced_stop(request));
      },
      [me](const envelope<schema::SnapshotsPost>& request) {
        return change(me, [me, request] { return plan_snapshot(*me, request); });
      },
      [me](const change_snapshot& request) {
        return change(me, [me, request] { return plan_snapshot_change(*me, request); });
      },
      [me](const prune_snapshots& request) { return change(me, [me, request] { return plan_prune(*me, request); }); },
      [me](const envelope<schema::BackupsPost>& request) {
        return aside(me, [me, request] { return plan_backup(*me, request); });
      },
      [me](const change_backup& request) {
        return aside(me, [me, request] { return plan_backup_change(*me, request); });
      },
      [me](const delete_instance& request) { return change(me, [me, request] { return plan_delete(*me, request); }); },
      [me](const run_exec& request) { return exec(me, request); },
      [me](const locate_root&) { return locate(me); },
      [me](const guest_ready& said) { return note_ready(me, said.ready); },
      [me](const step_act& step) { return perform(me, step); },
      [me](const step_undo& step) { return take_back(me, step); },
      [me](const operation_ended& over) {
        if (over.id != me->busy_with) return;
        give_back_claim(me);
        me->busy = false;
        me->busy_with.clear();
        serve_next(me);
      },
      [me](host_changed) { follow_devices(me); },
      [me](const machine_news& told) { on_machine_news(me, told); },
      [me](monitor_ended gone) { on_monitor_ended(me, gone.life); },
      [me](leader_ended gone) { on_leader_ended(me, gone.life); },
      [me](halt_timeout late) { on_halt_timeout(me, late); },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
