#include "actors/instance.hpp"
#include "actors/instance_nics.hpp"
#include "actors/networks.hpp"
#include "actors/pools.hpp"
#include "actors/store_actor.hpp"
#include "net/links.hpp"
#include "runtime/child.hpp"

#include <caf/event_based_actor.hpp>
#include <poll.h>
#include <sys/syscall.h>

namespace troupe {
namespace {

using boot_outcome = outcome<std::shared_ptr<boot_result>>;

std::string argument(const saga_step& step, std::string_view key) { return std::string{get(step.args, key)}; }

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

status_record status_now(const instance_ptr& me, const boot_result* alive = nullptr) {
  return changed(me->status, [&](schema::InstanceStatus::Builder status) {
    status.setState(me->now);
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

void watch(const instance_ptr& me, boot_result& alive) {
  auto life = ++me->life;
  auto actor = caf::actor_cast<caf::actor>(me->self);
  if (alive.leader_pidfd)
    me->leader_watch = std::make_unique<exit_watch>(me->with.io, std::move(alive.leader_pidfd),
                                                    [actor, life] { caf::anon_send(actor, leader_ended{life}); });
  if (alive.monitor_pidfd)
    me->monitor_watch = std::make_unique<exit_watch>(me->with.io, std::move(alive.monitor_pidfd),
                                                     [actor, life] { caf::anon_send(actor, monitor_ended{life}); });
}

std::shared_ptr<step_result> result_with(const instance_ptr& me, std::string_view action) {
  auto result = std::make_shared<step_result>();
  add_status(me, result->more);
  if (!action.empty())
    result->more.events.push_back(lifecycle_event(internal_head(me->project), "instance", me->name, action, me->url()));
  return result;
}

// The requestor of the operation stands in the event of what it brought about.
std::shared_ptr<step_result> result_with(const instance_ptr& me, const header& head, std::string_view action) {
  auto result = std::make_shared<step_result>();
  add_status(me, result->more);
  result->more.events.push_back(lifecycle_event(head, "instance", me->name, action, me->url()));
  return result;
}

// ---- boot

struct boot_request {
  std::shared_ptr<const header> head;
  std::string action;
  mutable caf::response_promise promise; // a handle
};

void boot_failed(const instance_ptr& me, const boot_request& request, error why) {
  move(me, trigger::failed);
  me->status = status_now(me);
  request.promise.deliver(to_caf(why));
}

void boot_done(const instance_ptr& me, const boot_request& request, boot_outcome outcome) {
  if (!outcome) return boot_failed(me, request, std::move(outcome.error()));
  auto& alive = **outcome;
  watch(me, alive);
  move(me, trigger::started);
  me->status = status_now(me, &alive);
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
    me->self->send(caf::actor_cast<caf::actor>(me->self), resume{[me] {
                     static_cast<void>(
                         me->with.containers.kill(me->key(), me->status.read([](auto s) { return s.getLeader(); })));
                   }});
  }
  request.promise.deliver(step_result_ptr{result});
}

void boot_with(const instance_ptr& me, boot_request request, const spec_record& spec, const root_mount& root) {
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, spec, root]() -> boot_outcome {
        auto plan = make_boot_plan(with, spec, root);
        if (!plan) return tl::unexpected{plan.error()};
        auto booted = with.containers.start(*plan);
        if (!booted) return tl::unexpected{booted.error()};
        return std::make_shared<boot_result>(std::move(*booted));
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
  me->self->request(me->with.find(role::networks), caf::infinite, announce_host{nic.network, std::move(host)})
      .then([me, nics, at, then] { announce_nics(me, nics, at + 1, then); },
            [then](const caf::error& why) { then(tl::unexpected{from_caf(why)}); });
}

void begin_boot(const instance_ptr& me, const boot_request& request) {
  auto spec = me->spec();
  if (!spec || !move(me, trigger::start))
    return request.promise.deliver(to_caf({fault::wrong_state, std::string{words_of(me->now).refusal}}));
  auto pool = spec->read([](auto s) { return text(s.getPool()); });
  auto nics = spec->read([&](auto s) { return nics_of(expand(me->with.db.read(), s)); });
  announce_nics(me, std::move(nics), 0, [me, request, spec = *spec, pool](outcome<void> announced) {
    if (!announced) return boot_failed(me, request, announced.error());
    me->self->request(me->with.find(role::pools), caf::infinite, locate_volume{pool, {"containers", me->key()}})
        .then([me, request, spec](const root_mount_ptr& root) { boot_with(me, request, spec, *root); },
              [me, request](const caf::error& why) { boot_failed(me, request, from_caf(why)); });
  });
}

caf::response_promise boot(const instance_ptr& me, const step_act& step) {
  boot_request request{step.head, argument(step.step, "action"), me->self->make_response_promise()};
  if (me->clearing)
    me->when_clear.push_back([me, request] { begin_boot(me, request); });
  else
    begin_boot(me, request);
  return request.promise;
}

// ---- halt

std::vector<std::string> host_links_of(const instance_data& me) {
  std::vector<std::string> names;
  if (auto spec = me.spec())
    for (auto& nic : spec->read([&](auto s) { return nics_of(expand(me.with.db.read(), s)); }))
      names.push_back(nic.host_name);
  return names;
}

outcome<void> kill_now(instance_driver& driver, const std::string& key, pid_t leader,
                       const std::vector<std::string>& links) {
  auto killed = driver.kill(key, leader);
  // The kernel takes some 25 ms for a link, as long as for the processes: both at once, instead of one after the other.
  if (killed)
    for (auto& name : links) static_cast<void>(remove_link(name));
  return killed;
}

caf::response_promise halt(const instance_ptr& me, const step_act& step) {
  auto promise = me->self->make_response_promise();
  bool force = argument(step.step, "force") == "true";
  if (me->now == instance_state::STARTING && force) {
    me->boot_abandoned = true;
    me->halting = promise;
    me->halt_forced = true;
    return promise;
  }
  if (!move(me, force ? trigger::force_stop : trigger::stop)) {
    promise.deliver(to_caf({fault::wrong_state, std::string{words_of(me->now).refusal}}));
    return promise;
  }
  if (me->halting.pending()) me->halting.deliver(to_caf({fault::cancelled, "A forced stop took over"}));
  me->halting = promise;
  me->halt_forced = force;
  auto timeout = std::strtoll(argument(step.step, "timeout").c_str(), nullptr, 10);
  if (!force && timeout >= 0) me->self->delayed_send(me->self, std::chrono::seconds{timeout}, halt_timeout{me->life});
  auto leader = me->status.read([](auto s) { return s.getLeader(); });
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, key = me->key(), leader, force, links = host_links_of(*me)]() -> outcome<void> {
        if (force) return kill_now(with.containers, key, leader, links);
        if (auto thawed = with.containers.unfreeze(key); !thawed) return thawed;
        return with.containers.request_stop(leader);
      },
      [me](outcome<void> sent) {
        if (sent || !me->halting.pending() || me->now != instance_state::STOPPING) return;
        move(me, trigger::still_running);
        me->halting.deliver(to_caf(sent.error()));
      });
  return promise;
}

// ---- freeze and thaw

caf::response_promise change_freezer(const instance_ptr& me, const step_act& step, bool freeze) {
  auto promise = me->self->make_response_promise();
  if (!move(me, freeze ? trigger::freeze : trigger::thaw)) {
    promise.deliver(to_caf({fault::wrong_state, std::string{words_of(me->now).refusal}}));
    return promise;
  }
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, key = me->key(), freeze] {
        return freeze ? with.containers.freeze(key) : with.containers.unfreeze(key);
      },
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
  return promise;
}

// ---- the end, whoever brought it

// What the last life left on the host goes before the next begins: they would bear the same names.
void clear_host(const instance_ptr& me) {
  me->clearing = true;
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, key = me->key(), links = host_links_of(*me)]() -> outcome<void> {
        for (auto& name : links) static_cast<void>(remove_link(name));
        with.containers.sweep(key);
        return {};
      },
      [me](const outcome<void>&) {
        me->clearing = false;
        for (auto& go_on : std::exchange(me->when_clear, {})) go_on();
      });
}

void settle_down(const instance_ptr& me) {
  me->monitor_watch.reset();
  me->leader_watch.reset();
  ++me->life;
  move(me, trigger::exited);
  me->status = status_now(me);
  clear_host(me);
}

void remove_if_ephemeral(const instance_ptr& me) {
  auto spec = me->spec();
  if (!spec || !spec->read([](auto s) { return s.getEphemeral(); })) return;
  auto head = std::make_shared<header>();
  head->project = me->project;
  caf::anon_send(caf::actor_cast<caf::actor>(me->self), delete_instance{head});
}

void record_unasked(const instance_ptr& me, std::string_view action) {
  batch change;
  add_status(me, change);
  change.events.push_back(lifecycle_event(internal_head(me->project), "instance", me->name, action, me->url()));
  propose_quietly(me->self, me->with, std::move(change));
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

void record_state(const instance_ptr& me, const std::string& reason) {
  me->status = changed(me->status, [&](schema::InstanceStatus::Builder status) {
    status.setState(me->now);
    status.setReason(reason);
  });
  batch change;
  add_status(me, change);
  propose_quietly(me->self, me->with, std::move(change));
}

// An undoing failed: the host may have more of this instance than its record tells.
void enter_error(const instance_ptr& me, const error& why) {
  if (move(me, trigger::undo_failed)) record_state(me, why.message);
}

} // namespace

void on_monitor_ended(const instance_ptr& me, uint64_t life) {
  if (life != me->life) return;
  settle_down(me);
  auto action = me->halt_forced ? "instance-stopped" : "instance-shutdown";
  if (me->halting.pending())
    me->halting.deliver(step_result_ptr{result_with(me, action)});
  else
    record_unasked(me, "instance-shutdown");
  me->halting = {};
  me->halt_forced = false;
  remove_if_ephemeral(me);
}

void on_leader_ended(const instance_ptr& me, uint64_t life) {
  if (life != me->life || me->halt_forced) return;
  me->leader_watch.reset();
  // Either the monitor follows, or it boots the container anew: liblxc says which.
  using found_ptr = outcome<std::shared_ptr<boot_result>>;
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, key = me->key()]() -> found_ptr {
        auto found = with.containers.await_reboot(key);
        if (!found) return tl::unexpected{found.error()};
        if (!*found) return std::shared_ptr<boot_result>{};
        auto alive = std::make_shared<boot_result>();
        alive->leader = (*found)->leader;
        alive->monitor = (*found)->monitor;
        alive->monitor_start = (*found)->monitor_start;
        alive->leader_pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, alive->leader, 0)));
        alive->monitor_pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, alive->monitor, 0)));
        return alive;
      },
      [me, life](found_ptr found) {
        if (life != me->life || !found || !*found) return;
        watch(me, **found);
        move(me, trigger::started);
        me->status = status_now(me, found->get());
        if (me->halting.pending())
          me->halting.deliver(to_caf({fault::wrong_state, "The instance rebooted instead of stopping"}));
        me->halting = {};
        record_unasked(me, "instance-restarted");
      });
}

void on_halt_timeout(const instance_ptr& me, uint64_t life) {
  if (life != me->life || !me->halting.pending() || me->halt_forced) return;
  move(me, trigger::still_running);
  me->halting.deliver(
      to_caf({fault::timed_out, "Failed shutting down instance, status is \"Running\": it did not stop in time"}));
  me->halting = {};
}

caf::result<step_result_ptr> perform(const instance_ptr& me, const step_act& step) {
  auto& kind = step.step.kind;
  if (kind == "instance.boot")
    boot(me, step);
  else if (kind == "instance.halt")
    halt(me, step);
  else if (kind == "instance.freeze")
    change_freezer(me, step, true);
  else if (kind == "instance.thaw")
    change_freezer(me, step, false);
  else
    return to_caf({fault::internal, "No instance performs " + kind});
  return caf::delegated<step_result_ptr>{};
}

caf::result<caf::unit_t> take_back(const instance_ptr& me, const step_undo& step) {
  auto& kind = step.step.kind;
  if (kind == "instance.halt") { // what is down stays down, and the record shows it
    auto recorded = load<schema::InstanceStatus>(me->with.db.read(), table::statuses, me->id());
    bool known = recorded && recorded->read([](auto s) { return s.getState() == instance_state::STOPPED; });
    if (me->now == instance_state::STOPPED && !known) record_unasked(me, "instance-stopped");
    return caf::unit;
  }
  auto promise = me->self->make_response_promise<caf::unit_t>();
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, id = me->id(), key = me->key(), kind]() -> outcome<bool> {
        if (kind == "instance.boot") {
          auto recorded = load<schema::InstanceStatus>(with.db.read(), table::statuses, id);
          return end_what_is_not_recorded(with.containers, key, recorded.value_or(status_record{}));
        }
        auto done = kind == "instance.freeze" ? with.containers.unfreeze(key) : with.containers.freeze(key);
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
  return promise;
}

void restore(const instance_ptr& me, const status_record& recorded) {
  me->status = recorded;
  auto [state, leader, monitor, started] = recorded.read([](schema::InstanceStatus::Reader s) {
    return std::tuple{s.getState(), s.getLeader(), s.getMonitor(), s.getMonitorStart()};
  });
  if (state == instance_state::ERROR && monitor == 0) { // until the undoing that failed is tried again
    me->now = instance_state::ERROR;
    return;
  }
  boot_result alive;
  alive.leader = leader;
  alive.monitor = monitor;
  alive.monitor_start = started;
  if (monitor > 0) {
    alive.monitor_pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, monitor, 0)));
    alive.leader_pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, leader, 0)));
  }
  me->now = state;
  if (monitor > 0 && alive.monitor_pidfd && process_start_time(monitor) == started) {
    enter(me, state == instance_state::FROZEN ? instance_state::FROZEN : instance_state::RUNNING);
    watch(me, alive);
    return;
  }
  if (state == instance_state::STOPPED) return;
  enter(me, instance_state::STOPPED);
  me->status = status_now(me);
  if (state != instance_state::STARTING) record_unasked(me, "instance-shutdown"); // else it never ran
  clear_host(me);
}

} // namespace troupe
