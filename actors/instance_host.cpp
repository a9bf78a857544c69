#include "actors/host_change.hpp"
#include "actors/instance_adapt.hpp"
#include "actors/instance_guest.hpp"
#include "actors/instance_status.hpp"
#include "actors/instance_tpms.hpp"
#include "actors/warnings.hpp"
#include "runtime/child.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>
#include <sys/syscall.h>

namespace troupe {
namespace {

void warn_of(const instance_ptr& me, const std::vector<pid_t>& hanging) {
  std::string list;
  for (auto pid : hanging) list += (list.empty() ? "" : ", ") + std::to_string(pid);
  log().warn("Instance {}: processes {} hang in the kernel", me->id(), list);
  raise_warning(me->with, warnings::hanging_processes, me->project, me->url(),
                "They are killed and wait for a device or file system of the host: " + list);
}

// What the last life left on the host goes before the next begins: they would bear the same names.
void clear_host(const instance_ptr& me) {
  me->clearing = true;
  me->forwarding.clear(); // proxies end with the instance's init
  on_blocking_thread(
      me->self, me->with,
      [&with = me->with, &driver = me->driver(), key = me->key(), links = host_links_of(*me),
       live = std::exchange(me->live, {}), table = table_of(*me)]() -> outcome<std::vector<pid_t>> {
        remove_links(links);
        end_tpms(with, key, live.devices);
        clear_host_of(live, table);
        return driver.sweep(key);
      },
      [me](const outcome<std::vector<pid_t>>& hanging) {
        if (hanging && !hanging->empty()) warn_of(me, *hanging);
        close_guest_door(me, [me] {
          me->clearing = false;
          for (auto& go_on : std::exchange(me->when_clear, {})) go_on();
        });
      });
}

void remove_if_ephemeral(const instance_ptr& me) {
  auto spec = me->spec();
  if (!spec || !spec->read([](auto s) { return s.getEphemeral(); })) return;
  auto head = std::make_shared<header>();
  head->project = me->project;
  caf::anon_send(caf::actor_cast<caf::actor>(me->self), delete_instance{head});
}

} // namespace

void watch(const instance_ptr& me, boot_result& alive) {
  auto life = ++me->life;
  me->last_words.clear();
  auto actor = caf::actor_cast<caf::actor>(me->self);
  if (alive.leader_pidfd && alive.leader != alive.monitor)
    me->leader_watch = std::make_unique<exit_watch>(me->with.io, std::move(alive.leader_pidfd),
                                                    [actor, life] { caf::anon_send(actor, leader_ended{life}); });
  if (alive.monitor_pidfd)
    me->monitor_watch = std::make_unique<exit_watch>(me->with.io, std::move(alive.monitor_pidfd),
                                                     [actor, life] { caf::anon_send(actor, monitor_ended{life}); });
}

std::vector<nic_link> host_links_of(const instance_data& me) {
  auto cards = nics_of(me.live);
  if (auto spec = me.spec())
    for (auto& nic : spec->read([&](auto s) { return nics_of(expand(me.with.db.read(), s)); }))
      cards.push_back(std::move(nic));
  std::vector<nic_link> out;
  for (auto& nic : cards) {
    auto link = link_of(nic, table_of(me));
    bool known = std::any_of(out.begin(), out.end(),
                             [&](auto& had) { return had.host_name == link.host_name && had.mark == link.mark; });
    if (!known) out.push_back(std::move(link));
  }
  return out;
}

void settle_down(const instance_ptr& me) {
  me->monitor_watch.reset();
  me->leader_watch.reset();
  ++me->life;
  move(me, trigger::exited);
  me->status = status_now(me);
  clear_host(me);
}

namespace {

// A container's init just ends; a machine says why, unless it was killed.
config_map end_of(const instance_data& me) {
  if (!me.is_machine()) return {};
  return {{"reason", me.last_words.empty() ? "its process was ended" : me.last_words}};
}

} // namespace

void on_monitor_ended(const instance_ptr& me, uint64_t life) {
  if (life != me->life) return;
  settle_down(me);
  auto action = me->halt_forced ? "instance-stopped" : "instance-shutdown";
  if (me->halting.pending())
    me->halting.deliver(step_result_ptr{result_with(me, action)});
  else
    record_unasked(me, "instance-shutdown", end_of(*me));
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
      [&driver = me->driver(), key = me->key()]() -> found_ptr {
        auto found = driver.await_reboot(key);
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
        recover_life(me, true);
      });
}

// The kill was sent a while ago. The end of its monitor is what tells, here as well; or a start that fails for it.
void end_by_force(const instance_ptr& me) {
  if (me->now == instance_state::STARTING)
    return on_blocking_thread(
        me->self, me->with,
        [&driver = me->driver(), key = me->key()]() -> outcome<void> {
          static_cast<void>(driver.sweep(key));
          return {};
        },
        [](const outcome<void>&) {});
  auto it = me->status.read([](schema::InstanceStatus::Reader s) {
    return instance_found{s.getLeader(), s.getMonitor(), s.getMonitorStart()};
  });
  on_blocking_thread(
      me->self, me->with, [&driver = me->driver(), key = me->key(), it] { return driver.end_by_force(key, it); },
      [me, life = me->life](const outcome<void>& done) {
        if (done || life != me->life || !me->halting.pending()) return;
        move(me, trigger::still_running);
        me->halting.deliver(to_caf(done.error()));
        me->halting = {};
        me->halt_forced = false;
      });
}

void on_halt_timeout(const instance_ptr& me, const halt_timeout& late) {
  if (late.life != me->life || !me->halting.pending() || late.forced != me->halt_forced) return;
  if (late.forced) return end_by_force(me);
  move(me, trigger::still_running);
  me->halting.deliver(
      to_caf({fault::timed_out, "Failed shutting down instance, status is \"Running\": it did not stop in time"}));
  me->halting = {};
}

void restore(const instance_ptr& me, const status_record& recorded) {
  me->status = recorded;
  restore_life(*me, recorded);
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
    recover_life(me, false);
    return;
  }
  if (state == instance_state::STOPPED) return;
  enter(me, instance_state::STOPPED);
  me->status = status_now(me);
  if (state != instance_state::STARTING) record_unasked(me, "instance-shutdown"); // else it never ran
  clear_host(me);
}

} // namespace troupe
