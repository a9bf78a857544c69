#include "actors/instance_adapt.hpp"

#include "actors/ask.hpp"
#include "actors/host_change.hpp"
#include "actors/inside.hpp"
#include "actors/instance_status.hpp"
#include "actors/lifecycle_event.hpp"
#include "actors/names.hpp"
#include "actors/networks.hpp"
#include "actors/pools.hpp"
#include "actors/project_keys.hpp"
#include "actors/store_actor.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

constexpr auto forwarder_pause = std::chrono::seconds{1};

bool is_up(const instance_data& me) {
  return me.now == instance_state::RUNNING || me.now == instance_state::FROZEN || me.now == instance_state::STOPPING;
}

void next_change(const instance_ptr& me) {
  me->adapting = false;
  if (me->adaptations.empty()) return;
  auto next = std::move(me->adaptations.front());
  me->adaptations.pop_front();
  next();
}

host_change change_of(const instance_ptr& me, expansion to) {
  host_change what;
  what.who = live_instance_of(*me);
  what.type = me->type;
  what.to = std::move(to);
  what.places = disk_places_of(me->with, me->with.db.read(), me->project);
  what.table = table_of(*me);
  what.running = me->forwarding;
  what.forwarder_ended = restarts_forwarders(me, me->life);
  return what;
}

// New addresses of cards on our networks are made known to DHCP first.
void announce(const instance_ptr& me, const expansion& to, std::function<void()> then) {
  auto left = std::make_shared<size_t>(1);
  auto one_done = [left, then] {
    if (--*left == 0) then();
  };
  for (auto& nic : nics_of(to)) {
    auto at = me->live.devices.find(nic.device);
    if (!nic.managed || (at != me->live.devices.end() && at->second == nic.config)) continue;
    ++*left;
    dhcp_host host{me->key() + "." + nic.device, nic.hwaddr, dns_name(me->project, me->name), nic.ipv4, nic.ipv6};
    ask<void>(me->self, me->with.find(role::networks), announce_host{nic.network, std::move(host)},
              [one_done](const outcome<void>& done) {
                if (!done) log().warn("{}", done.error().message);
                one_done();
              });
  }
  one_done();
}

void change_now(const instance_ptr& me, host_change what, std::function<void(outcome<void>)> then) {
  auto to = what.to;
  auto life = me->life;
  inside_instance(
      me->self, me->with, me->key(), [&with = me->with, what]() mutable { return change_host(with, std::move(what)); },
      [me, to, life, then](outcome<host_now> done) mutable {
        if (done && life == me->life) {
          me->forwarding = std::move(done->running);
          me->live = {std::move(to.config), std::move(done->devices)};
          me->status = with_life(*me, me->status);
        }
        then(done ? outcome<void>{} : outcome<void>{tl::unexpected{done.error()}});
        next_change(me);
      });
}

void locate_and_change(const instance_ptr& me, host_change what, std::function<void(outcome<void>)> then) {
  auto spec = me->spec();
  auto pool = spec ? spec->read([](auto s) { return text(s.getPool()); }) : std::string{};
  auto located = [me, what, then](const outcome<root_mount_ptr>& root) mutable {
    if (!root) {
      then(tl::unexpected{root.error()});
      return next_change(me);
    }
    what.root_path = (*root)->lower.empty() ? (*root)->path : (*root)->upper;
    change_now(me, std::move(what), then);
  };
  ask<root_mount_ptr>(me->self, me->with.find(role::pools), locate_volume{pool, volume_named(me->volume())}, located);
}

void run_forwarder_again(const instance_ptr& me, uint64_t life, const std::string& device) {
  if (me->adapting) // it may have ended because another takes its place
    return me->adaptations.push_back([me, life, device] {
      run_forwarder_again(me, life, device);
      next_change(me);
    });
  auto at = me->live.devices.find(device);
  if (life != me->life || !is_up(*me) || at == me->live.devices.end() || !has_forwarder(at->second)) return;
  auto tell = restarts_forwarders(me, life);
  inside_instance(
      me->self, me->with, me->key(),
      [&with = me->with, who = live_instance_of(*me), device, config = at->second, tell] {
        return start_forwarder(with, who, device, config, [tell, device] { tell(device); });
      },
      [me, life, device, tell](outcome<forwarder_ptr> started) {
        if (!started) log().error("Instance {}: {}", me->id(), started.error().message);
        if (started && life == me->life) me->forwarding[device] = std::move(*started);
        if (!started) tell(device);
      });
}

} // namespace

namespace {

bool names_a_card(const std::string& key) {
  return key.starts_with("volatile.") &&
         (key.ends_with(".hwaddr") || key.ends_with(".host_name") || key.ends_with(".name"));
}

} // namespace

expansion live_part(const expansion& effective) {
  expansion out;
  out.devices = effective.devices;
  for (auto& [key, value] : effective.config)
    if (key.starts_with("limits.") || names_a_card(key)) out.config.emplace(key, value);
  return out;
}

config_map to_arguments(const expansion& live) {
  config_map out;
  for (auto& [key, value] : live.config) out["config/" + key] = value;
  for (auto& [name, device] : live.devices)
    for (auto& [key, value] : device) out["device/" + name + "/" + key] = value;
  return out;
}

expansion from_arguments(const config_map& args) {
  expansion out;
  for (auto& [key, value] : args) {
    if (key.starts_with("config/")) out.config[key.substr(7)] = value;
    if (!key.starts_with("device/")) continue;
    auto slash = key.find('/', 7);
    out.devices[key.substr(7, slash - 7)][key.substr(slash + 1)] = value;
  }
  return out;
}

std::string table_of(const instance_data& me) { return "troupe-" + me.with.dir.id + "-" + me.key(); }

live_instance live_instance_of(const instance_data& me) {
  return me.status.read([&](schema::InstanceStatus::Reader s) {
    return live_instance{me.key(), s.getLeader(), {s.getIdmapBase(), s.getIdmapSize()}};
  });
}

std::function<void(const std::string&)> restarts_forwarders(const instance_ptr& me, uint64_t life) {
  auto actor = caf::actor_cast<caf::actor>(me->self);
  return [me, actor, life](const std::string& device) {
    caf::anon_send(actor, resume{[me, life, device] {
                     if (life != me->life) return;
                     me->self->delayed_send(me->self, forwarder_pause,
                                            resume{[me, life, device] { run_forwarder_again(me, life, device); }});
                   }});
  };
}

void adapt(const instance_ptr& me, expansion to, bool repair, std::vector<expansion> also_from,
           std::function<void(outcome<void>)> then) {
  if (me->adapting)
    return me->adaptations.push_back([me, to, repair, also_from, then] { adapt(me, to, repair, also_from, then); });
  me->adapting = true;
  if (!is_up(*me)) {
    then({});
    return next_change(me);
  }
  auto what = change_of(me, live_part(to));
  what.repair = repair;
  what.from = std::move(also_from);
  what.from.push_back(me->live);
  announce(me, what.to, [me, what, then] { locate_and_change(me, what, then); });
}

void settle_record(const instance_ptr& me, std::function<void(outcome<spec_record>)> then) {
  auto spec = me->spec();
  if (!spec) return then(fail(fault::not_found, "Instance not found"));
  auto records = me->with.db.read();
  auto before = spec->read([](auto s) { return to_map(s.getConfig()); });
  auto own = before;
  settle_volatile(me->name, own, spec->read([&](auto s) { return expand(records, s); }));
  if (own == before) return then(*spec);
  auto settled = changed(
      *spec, [&](schema::InstanceSpec::Builder s) { fill(s.initConfig(static_cast<unsigned>(own.size())), own); });
  batch change;
  change.conditions.push_back(unchanged(records, table::instances, me->id()));
  change.writes.push_back(put_record(*me, settled));
  commit(me->self, me->with, std::move(change),
         [settled, then](outcome<void> done) { done ? then(settled) : then(tl::unexpected{done.error()}); });
}

namespace {

void follow(const instance_ptr& me, const spec_record& spec, const std::function<void()>& then) {
  auto to = live_part(spec.read([&](auto s) { return expand(me->with.db.read(), s); }));
  if (to.devices == without_nodes(me->live.devices) && to.config == me->live.config) return then();
  auto had = me->live;
  adapt(me, to, false, {}, [me, to, had, then](outcome<void> done) {
    if (done) {
      record_state(me, "");
      return then();
    }
    log().error("Instance {} does not follow its profiles: {}", me->id(), done.error().message);
    adapt(me, had, true, {to}, [then](const outcome<void>&) { then(); });
  });
}

} // namespace

void follow_record(const instance_ptr& me, std::function<void()> then) {
  if (!me->spec() || !is_up(*me)) return then();
  settle_record(me, [me, then](const outcome<spec_record>& settled) {
    if (settled) return follow(me, *settled, then);
    log().error("Instance {} does not follow its profiles: {}", me->id(), settled.error().message);
    then();
  });
}

namespace {

void tell_of_nodes(const instance_ptr& me, const device_map& before) {
  static const config_map none;
  batch change;
  auto of = [](const device_map& devices, const std::string& name) -> const config_map& {
    auto at = devices.find(name);
    return at == devices.end() ? none : at->second;
  };
  auto tell = [&](const device_map& in, const device_map& not_in, std::string_view action) {
    for (auto& [name, device] : in)
      for (auto& node : remembered_nodes(name, device)) {
        auto same = remembered_nodes(name, of(not_in, name));
        if (std::any_of(same.begin(), same.end(), [&](auto& other) { return other.path == node.path; })) continue;
        header head;
        head.project = me->project;
        change.events.push_back(
            lifecycle_event(head, "instance", me->name, action, me->url(), {{"device", name}, {"path", node.path}}));
      }
  };
  tell(before, me->live.devices, "instance-device-unplugged");
  tell(me->live.devices, before, "instance-device-plugged");
  if (!change.events.empty()) propose_quietly(me->self, me->with, std::move(change));
}

} // namespace

void follow_devices(const instance_ptr& me) {
  auto& devices = me->live.devices;
  bool any = std::any_of(devices.begin(), devices.end(), [](auto& entry) { return is_found(entry.second); });
  if (!any || !is_up(*me)) return;
  adapt(me, me->live, false, {}, [me, before = devices](outcome<void> done) {
    if (!done) return log().error("Instance {}: {}", me->id(), done.error().message);
    if (before == me->live.devices) return;
    record_state(me, "");
    tell_of_nodes(me, before);
  });
}

void recover_life(const instance_ptr& me, bool rebooted) {
  if (!rebooted) {
    for (auto& [name, device] : me->live.devices)
      if (has_forwarder(device)) run_forwarder_again(me, me->life, name);
    return follow_devices(me);
  }
  auto to = me->live;
  me->live = {me->live.config, me->booted};
  me->forwarding.clear(); // they have ended with the init they were for
  inside_instance(
      me->self, me->with, me->key(),
      [&with = me->with, what = change_of(me, me->live)] { return complete_host(with, what); },
      [me, to](outcome<forwarders> done) {
        if (!done) log().error("Instance {} after its reboot: {}", me->id(), done.error().message);
        if (done) me->forwarding = std::move(*done);
        adapt(me, to, false, {}, [me](const outcome<void>& changed) {
          if (!changed) log().error("Instance {} after its reboot: {}", me->id(), changed.error().message);
          record_state(me, "");
        });
      });
}

status_record with_life(const instance_data& me, const status_record& status) {
  return changed(status, [&](schema::InstanceStatus::Builder s) {
    fill(s.initDevices(static_cast<unsigned>(me.live.devices.size())), me.live.devices);
    fill(s.initConfig(static_cast<unsigned>(me.live.config.size())), me.live.config);
    fill(s.initBooted(static_cast<unsigned>(me.booted.size())), me.booted);
  });
}

void restore_life(instance_data& me, const status_record& recorded) {
  recorded.read([&](schema::InstanceStatus::Reader s) {
    auto spec = me.spec();
    if (!s.hasBooted() && spec) { // of a daemon that did not write it down
      me.live = live_part(spec->read([&](auto is) { return expand(me.with.db.read(), is); }));
      me.booted = me.live.devices;
      return;
    }
    me.live = {to_map(s.getConfig()), to_map(s.getDevices())};
    me.booted = to_map(s.getBooted());
  });
}

} // namespace troupe
