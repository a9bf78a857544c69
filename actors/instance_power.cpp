#include "actors/ask.hpp"
#include "actors/host_change.hpp"
#include "actors/instance_adapt.hpp"
#include "actors/instance_guest.hpp"
#include "actors/instance_status.hpp"
#include "actors/instance_tpms.hpp"
#include "actors/networks.hpp"
#include "actors/pools.hpp"

#include <caf/event_based_actor.hpp>
#include <poll.h>
#include <sys/syscall.h>

namespace troupe {
namespace {

struct booted {
  boot_result alive;
  expansion live;
  id_range ids;
  forwarders forwarding;
};
using boot_outcome = outcome<std::shared_ptr<booted>>;

std::string argument(const saga_step& step, std::string_view key) { return std::string{get(step.args, key)}; }

constexpr int64_t force_patience = 10; // seconds that killed processes have before more is done

// ---- boot

struct boot_request {
  std::shared_ptr<const header> head;
  std::string action;
  sure_promise promise;
};

void boot_failed(const instance_ptr& me, const boot_request& request, error why) {
  move(me, trigger::failed);
  me->status = status_now(me);
  if (std::exchange(me->boot_abandoned, false)) { // which is what a forced stop wanted
    me->halting.deliver(step_result_ptr{result_with(me, "")});
    me->halting = {};
    me->halt_forced = false;
  }
  close_guest_door(me, [promise = request.promise, why = to_caf(why)] { promise.deliver(why); });
}

void boot_done(const instance_ptr& me, const boot_request& request, boot_outcome outcome) {
  if (!outcome) return boot_failed(me, request, std::move(outcome.error()));
  auto& [alive, live, ids, forwarding] = **outcome;
  watch(me, alive);
  move(me, trigger::started);
  me->live = live;
  me->booted = live.devices;
  me->forwarding = forwarding;
  me->status = with_life(*me, changed(status_now(me, &alive), [&r = ids](schema::InstanceStatus::Builder s) {
    s.setIdmapBase(r.host);
    s.setIdmapSize(r.size);
  }));
  auto result = result_with(me, *request.head, request.action == "restart" ? "instance-restarted" : "instance-started");
  if (auto spec = me->spec()) {
    auto config = spec->read([](auto s) { return to_map(s.getConfig()); });
    if (config.erase("volatile.apply_template"))
      result->more.writes.push_back(put_record(*me, changed(*spec, [&](schema::InstanceSpec::Builder s) {
        fill(s.initConfig(static_cast<unsigned>(config.size())), config);
      })));
  }
  if (me->boot_abandoned) {
    me->boot_abandoned = false;
    me->self->delayed_send(me->self, std::chrono::seconds{force_patience}, halt_timeout{me->life, true});
    me->self->send(caf::actor_cast<caf::actor>(me->self), resume{[me] {
                     static_cast<void>(
                         me->driver().kill(me->key(), me->status.read([](auto s) { return s.getLeader(); })));
                   }});
  }
  request.promise.deliver(step_result_ptr{result});
  follow_record(me, [] {}); // a profile may have changed while it started
}

// What is behind a boot failed: nothing of it stays.
void end_boot(services& with, const boot_plan& plan, boot_result& alive, const host_change& behind) {
  auto& key = plan.key;
  auto& driver = with.driver(behind.type);
  static_cast<void>(driver.kill(key, alive.leader));
  pollfd end{alive.monitor_pidfd.get(), POLLIN, 0};
  poll(&end, 1, 30'000);
  std::vector<nic_link> links;
  for (auto& nic : nics_of(behind.to)) links.push_back(link_of(nic, behind.table));
  remove_links(links);
  end_tpms(with, key, behind.to.devices);
  clear_host_of(behind.to, behind.table);
  driver.sweep(key);
}

boot_outcome boot_now(services& with, const spec_record& spec, const root_mount& root, const std::string& guest_dir,
                      host_change behind) {
  auto planned = make_boot_plan(with, spec, root);
  if (!planned) return tl::unexpected{planned.error()};
  auto& plan = planned->plan;
  plan.guest_dir = guest_dir;
  behind.to = live_part(planned->effective);
  behind.type = spec.read([](auto s) { return s.getType(); });
  if (auto ready = prepare_host(behind.to, behind.table); !ready) {
    clear_host_of(behind.to, behind.table);
    return tl::unexpected{ready.error()};
  }
  if (auto made = make_taps(plan, behind); !made) {
    clear_host_of(behind.to, behind.table);
    return tl::unexpected{made.error()};
  }
  auto alive = with.driver(behind.type).start(plan);
  for (auto& nic : plan.nics) nic.queues.clear(); // the machine has them now
  if (!alive) {
    clear_host_of(behind.to, behind.table);
    return tl::unexpected{alive.error()};
  }
  behind.who = {plan.key, alive->leader, plan.ids};
  auto forwarding = complete_host(with, behind);
  if (!forwarding) {
    end_boot(with, plan, *alive, behind);
    return tl::unexpected{forwarding.error()};
  }
  return std::make_shared<booted>(booted{std::move(*alive), behind.to, plan.ids, std::move(*forwarding)});
}

// Undoes a boot that a crash or a failed commit left: the record does not know these processes, the driver does. What
// the record knows was started by somebody else, and stays. True: nothing runs any more.
outcome<bool> end_what_is_not_recorded(instance_driver& driver, const std::string& key, const status_record& recorded) {
  auto found = driver.find(key);
  if (!found) return tl::unexpected{found.error()};
  if (*found) {
    bool known = recorded.read([&](schema::InstanceStatus::Reader status) {
      return status.getMonitor() == (*found)->monitor && status.getMonitorStart() == (*found)->monitor_start;
    });
    if (known) return false;
    unique_fd monitor{static_cast<int>(syscall(SYS_pidfd_open, (*found)->monitor, 0))};
    if (auto killed = driver.kill(key, (*found)->leader); !killed) return tl::unexpected{killed.error()};
    pollfd end{monitor.get(), POLLIN, 0};
    if (monitor && poll(&end, 1, 30'000) != 1) return fail(fault::timed_out, "The instance could not be ended");
  }
  driver.sweep(key);
  return true;
}

void boot_with(const instance_ptr& me, boot_request request, const spec_record& spec, const root_mount& root,
               std::string guest_dir) {
  host_change behind;
  behind.table = table_of(*me);
  behind.forwarder_ended = restarts_forwarders(me, me->life + 1); // the life that its processes will be
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, &driver = me->driver(), spec, root, behind, guest_dir = std::move(guest_dir),
       repeated = request.action == "restore", id = me->id(), key = me->key()]() -> boot_outcome {
        if (repeated) { // it may have come up right before a crash, which nobody wrote down
          auto recorded = load<schema::InstanceStatus>(with.db.read(), table::statuses, id);
          auto ended = end_what_is_not_recorded(driver, key, recorded.value_or(status_record{}));
          if (!ended) return tl::unexpected{ended.error()};
        }
        return boot_now(with, spec, root, guest_dir, behind);
      },
      [me, request](boot_outcome result) { boot_done(me, request, std::move(result)); });
}

// The names of its nics must be known to DHCP before the first packet.
void announce_nics(const instance_ptr& me, std::vector<nic_facts> nics, size_t at,
                   std::function<void(outcome<void>)> then) {
  while (at < nics.size() && !nics[at].managed) ++at;
  if (at == nics.size()) return then({});
  auto& nic = nics[at];
  dhcp_host host{me->key() + "." + nic.device, nic.hwaddr, dns_name(me->project, me->name), nic.ipv4, nic.ipv6};
  auto announced = [me, nics, at, then](const outcome<void>& done) {
    done ? announce_nics(me, nics, at + 1, then) : then(done);
  };
  ask<void>(me->self, me->with.find(role::networks), announce_host{nic.network, std::move(host)}, announced);
}

void boot_settled(const instance_ptr& me, const boot_request& request, const spec_record& spec) {
  auto pool = spec.read([](auto s) { return text(s.getPool()); });
  auto nics = spec.read([&](auto s) { return nics_of(expand(me->with.db.read(), s)); });
  announce_nics(me, std::move(nics), 0, [me, request, spec, pool](outcome<void> announced) {
    if (!announced) return boot_failed(me, request, announced.error());
    auto located = [me, request, spec](const outcome<root_mount_ptr>& root) {
      if (!root) return boot_failed(me, request, root.error());
      open_guest_door(me, spec, [me, request, spec, root = *root](std::string folder) {
        boot_with(me, request, spec, *root, std::move(folder));
      });
    };
    ask<root_mount_ptr>(me->self, me->with.find(role::pools), locate_volume{pool, volume_named(me->volume())}, located);
  });
}

void begin_boot(const instance_ptr& me, const boot_request& request) {
  if (!me->spec() || !move(me, trigger::start))
    return request.promise.deliver(to_caf({fault::wrong_state, std::string{words_of(me->now).refusal}}));
  settle_record(me, [me, request](const outcome<spec_record>& spec) {
    spec ? boot_settled(me, request, *spec) : boot_failed(me, request, spec.error());
  });
}

void boot(const instance_ptr& me, const step_act& step, sure_promise promise) {
  // Behind a saga's commit the step is repeated after a crash.
  if (argument(step.step, "action") == "restore" && me->now == instance_state::RUNNING)
    return promise.deliver(step_result_ptr{result_with(me, "")});
  boot_request request{step.head, argument(step.step, "action"), std::move(promise)};
  if (me->clearing)
    me->when_clear.push_back([me, request] { begin_boot(me, request); });
  else
    begin_boot(me, request);
}

// ---- halt

outcome<void> kill_now(instance_driver& driver, const std::string& key, pid_t leader,
                       const std::vector<nic_link>& links) {
  auto killed = driver.kill(key, leader);
  // The kernel takes some 25 ms for a link, as long as for the processes: both at once, instead of one after the other.
  if (killed) remove_links(links);
  return killed;
}

void halt(const instance_ptr& me, const step_act& step, sure_promise promise) {
  bool force = argument(step.step, "force") == "true";
  if (me->now == instance_state::STARTING && force) {
    me->boot_abandoned = true;
    me->halting = promise;
    me->halt_forced = true;
    me->self->delayed_send(me->self, std::chrono::seconds{force_patience}, halt_timeout{me->life, true});
    return;
  }
  if (!move(me, force ? trigger::force_stop : trigger::stop))
    return promise.deliver(to_caf({fault::wrong_state, std::string{words_of(me->now).refusal}}));
  if (me->halting.pending()) me->halting.deliver(to_caf({fault::cancelled, "A forced stop took over"}));
  me->halting = promise;
  me->halt_forced = force;
  auto timeout = std::strtoll(argument(step.step, "timeout").c_str(), nullptr, 10);
  if (force) timeout = force_patience;
  if (timeout >= 0) me->self->delayed_send(me->self, std::chrono::seconds{timeout}, halt_timeout{me->life, force});
  auto leader = me->status.read([](auto s) { return s.getLeader(); });
  on_blocking_thread(
      me->self, me->with,
      [&driver = me->driver(), key = me->key(), leader, force, links = host_links_of(*me)]() -> outcome<void> {
        if (force) return kill_now(driver, key, leader, links);
        if (auto thawed = driver.unfreeze(key); !thawed) return thawed;
        return driver.request_stop(key, leader);
      },
      [me](outcome<void> sent) {
        if (sent || !me->halting.pending() || me->now != instance_state::STOPPING) return;
        move(me, trigger::still_running);
        me->halting.deliver(to_caf(sent.error()));
      });
}

// ---- freeze and thaw

void change_freezer(const instance_ptr& me, const step_act& step, bool freeze, sure_promise promise) {
  if (!move(me, freeze ? trigger::freeze : trigger::thaw))
    return promise.deliver(to_caf({fault::wrong_state, std::string{words_of(me->now).refusal}}));
  on_blocking_thread(
      me->self, me->with,
      [&driver = me->driver(), key = me->key(), freeze] { return freeze ? driver.freeze(key) : driver.unfreeze(key); },
      [me, freeze, promise, head = step.head](outcome<void> done) mutable {
        if (!done) {
          move(me, trigger::failed);
          promise.deliver(to_caf(done.error()));
          return;
        }
        move(me, freeze ? trigger::frozen : trigger::thawed);
        me->status = status_now(me, nullptr);
        promise.deliver(step_result_ptr{result_with(me, *head, freeze ? "instance-paused" : "instance-resumed")});
      });
}

// ---- changes of what runs

void change_devices(const instance_ptr& me, const saga_step& step, sure_promise promise) {
  adapt(me, from_arguments(step.args), false, {}, [me, promise](outcome<void> done) {
    if (done)
      promise.deliver(step_result_ptr{result_with(me, "")});
    else
      promise.deliver(to_caf(done.error()));
  });
}

// The record never heard of the change, of which some may be there.
void take_back_devices(const instance_ptr& me, const saga_step& step, sure_promise promise) {
  auto had = me->status.read([](schema::InstanceStatus::Reader s) {
    return expansion{to_map(s.getConfig()), to_map(s.getDevices())};
  });
  auto recorded = load<schema::InstanceStatus>(me->with.db.read(), table::statuses, me->id());
  if (recorded)
    recorded->read([&](schema::InstanceStatus::Reader s) { had = {to_map(s.getConfig()), to_map(s.getDevices())}; });
  adapt(me, had, true, {from_arguments(step.args)}, [promise](outcome<void> done) { answer(promise, done); });
}

// ---- undoing

// The container may go down all the same; then the host reports it.
void give_up_halting(const instance_ptr& me, error why) {
  if (!me->halting.pending() || me->halt_forced) return; // a forced one ends soon by itself
  move(me, trigger::still_running);
  me->halting.deliver(to_caf(why));
  me->halting = {};
}

// What is down stays down, and the record shows it.
void take_back_halt(const instance_ptr& me, sure_promise promise) {
  auto recorded = load<schema::InstanceStatus>(me->with.db.read(), table::statuses, me->id());
  bool known = recorded && recorded->read([](auto s) { return s.getState() == instance_state::STOPPED; });
  if (me->now == instance_state::STOPPED && !known) record_unasked(me, "instance-stopped");
  promise.deliver(caf::unit);
}

void take_back(const instance_ptr& me, const saga_step& step, sure_promise promise) {
  auto& kind = step.kind;
  if (kind == "instance.halt") return take_back_halt(me, promise);
  if (kind == "instance.adapt") return take_back_devices(me, step, promise);
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, &driver = me->driver(), id = me->id(), key = me->key(), kind]() -> outcome<bool> {
        if (kind == "instance.boot") {
          auto recorded = load<schema::InstanceStatus>(with.db.read(), table::statuses, id);
          return end_what_is_not_recorded(driver, key, recorded.value_or(status_record{}));
        }
        auto done = kind == "instance.freeze" ? driver.unfreeze(key) : driver.freeze(key);
        if (!done) return tl::unexpected{done.error()};
        return false;
      },
      [me, promise, kind](outcome<bool> ended) mutable {
        if (!ended) {
          enter_error(me, ended.error());
          promise.deliver(to_caf(ended.error()));
          return;
        }
        bool was_error = me->now == instance_state::ERROR;
        if (*ended && me->now != instance_state::STOPPED) settle_down(me);
        bool up = me->now != instance_state::STOPPED; // it may have ended meanwhile
        if (up && kind == "instance.freeze") enter(me, instance_state::RUNNING);
        if (up && kind == "instance.thaw") enter(me, instance_state::FROZEN);
        if (was_error) record_state(me, "");
        promise.deliver(caf::unit);
      });
}

} // namespace

caf::response_promise perform(const instance_ptr& me, const step_act& act) {
  return in_turn(me->self, me->with, act.operation, [me, act](sure_promise promise) {
    auto& kind = act.step.kind;
    if (kind == "instance.boot")
      boot(me, act, promise);
    else if (kind == "instance.halt")
      halt(me, act, promise);
    else if (kind == "instance.freeze")
      change_freezer(me, act, true, promise);
    else if (kind == "instance.thaw")
      change_freezer(me, act, false, promise);
    else if (kind == "instance.adapt")
      change_devices(me, act.step, promise);
    else if (kind == "instance.follow")
      follow_record(me, [promise] { promise.deliver(step_result_ptr{std::make_shared<step_result>()}); });
    else
      promise.deliver(to_caf({fault::internal, "No instance performs " + kind}));
  });
}

// A graceful stop may wait for ever for its end: whoever undoes it waits no longer.
caf::response_promise take_back(const instance_ptr& me, const step_undo& undo) {
  if (undo.step.kind == "instance.halt") give_up_halting(me, {fault::cancelled, "The stop was taken back"});
  return in_turn(me->self, me->with, undo.operation,
                 [me, step = undo.step](sure_promise promise) { take_back(me, step, promise); });
}

} // namespace troupe
