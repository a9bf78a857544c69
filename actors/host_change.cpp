#include "actors/host_change.hpp"

#include "actors/device_options.hpp"
#include "actors/instance_tpms.hpp"
#include "net/links.hpp"
#include "net/tap.hpp"

#include <algorithm>
#include <set>

namespace troupe {
namespace {

const config_map nothing;

const config_map& device_of(const expansion& from, const std::string& name) {
  auto at = from.devices.find(name);
  return at == from.devices.end() ? nothing : at->second;
}

struct changer {
  services& with;
  host_change& it;

  instance_driver& driver() const { return with.driver(it.type); }
  bool is_machine() const { return it.type == schema::InstanceType::VIRTUAL_MACHINE; }

  device_change kind_of_change(const std::string& name) const {
    auto worst = device_change::none;
    for (auto& from : it.from) worst = std::max(worst, compare_device(device_of(from, name), device_of(it.to, name)));
    return worst;
  }

  nic_link link(const expansion& in, const std::string& name) const {
    for (auto& nic : nics_of(in))
      if (nic.device == name) return link_of(nic, it.table);
    return {};
  }

  outcome<nic_plan> card(const expansion& in, const std::string& name) const {
    for (auto& nic : nics_of(in))
      if (nic.device == name) return plan_of(nic);
    return fail(fault::internal, "No card " + name);
  }

  outcome<drive_plan> drive(const expansion& in, const std::string& name) const {
    for (auto& plan : drives_of(in, it.places, it.root_path))
      if (plan.device == name) return plan;
    return fail(fault::internal, "No disk " + name);
  }

  // What is plugged brings its limits along.
  std::vector<disk_limit> disk_limits() const {
    if (!is_machine()) return disk_limits_of(it.to, it.root_path, it.places);
    std::vector<disk_limit> out;
    for (auto& plan : drives_of(it.to, it.places, it.root_path))
      if (kind_of_change(plan.device) != device_change::replug)
        out.push_back({plan.file, plan.read_bytes, plan.read_ops, plan.write_bytes, plan.write_ops});
    return out;
  }

  outcome<mount_plan> mount(const expansion& in, const std::string& name) const {
    for (auto& plan : mounts_of(in, it.places))
      if (plan.device == name) return plan;
    return fail(fault::internal, "No disk " + name);
  }

  outcome<void> unplug(const expansion& from, const std::string& name) {
    auto& device = device_of(from, name);
    auto type = get(device, "type");
    if (is_root(device)) return {};
    if (type == "disk" && is_machine()) return driver().unplug(it.who, *drive(from, name));
    if (type == "disk") return driver().unplug(it.who, *mount(from, name));
    if (type == "nic" && is_machine()) {
      unsettle_nic(link(from, name));
      return driver().unplug(it.who, *card(from, name)); // the tap goes with it
    }
    if (type == "nic") {
      auto card = link(from, name);
      unsettle_nic(card);
      auto gone = unplug_nic(card, it.who.leader);
      if (gone) release_nic(card);
      return gone;
    }
    if (is_found(device)) return unplug_found(name, device);
    if (type.starts_with("unix-")) {
      auto node = node_of(name, device);
      // A node that the host has no more cannot be told from others; its rule goes with the instance.
      return node && *node ? driver().unplug(it.who, **node) : outcome<void>{};
    }
    auto at = it.running.find(name);
    auto process = at == it.running.end() ? nullptr : std::exchange(at->second, nullptr);
    if (at != it.running.end()) it.running.erase(at); // nobody starts it again
    if (is_tpm(device)) return remove_tpm(with, it.who, name, device);
    if (process) end_forwarder(process);
    return {};
  }

  outcome<void> unplug_found(const std::string& name, const config_map& device) {
    auto nodes = remembered_nodes(name, device);
    if (nodes.empty() && it.repair) nodes = find_nodes(name, device).value_or(nodes);
    for (auto& node : nodes)
      if (auto done = driver().unplug(it.who, node); !done) return done;
    return {};
  }

  outcome<void> plug_found(const std::string& name) {
    auto& device = it.to.devices.at(name);
    auto nodes = find_nodes(name, device);
    if (!nodes) return tl::unexpected{nodes.error()};
    remember_nodes(device, *nodes);
    for (auto& node : *nodes)
      if (auto done = driver().plug(it.who, node); !done) return done;
    return {};
  }

  // The device is the same, what the host has for it may not be. That it has none any more is no error.
  outcome<void> follow_host(const std::string& name) {
    auto& device = it.to.devices.at(name);
    config_map now = device, had;
    for (auto& from : it.from) had.insert(device_of(from, name).begin(), device_of(from, name).end());
    remember_nodes(now, find_nodes(name, device).value_or(std::vector<node_plan>{}));
    for (auto& node : remembered_nodes(name, had))
      if (!is_among(node, now))
        if (auto done = driver().unplug(it.who, node); !done) return done;
    for (auto& node : remembered_nodes(name, now))
      if (!is_among(node, had))
        if (auto done = driver().plug(it.who, node); !done) return done;
    device = now;
    return {};
  }

  static bool is_among(const node_plan& node, const config_map& device) {
    config_map one;
    remember_nodes(one, {node});
    auto at = device.find(one.begin()->first);
    return at != device.end() && at->second == one.begin()->second;
  }

  outcome<void> plug(const std::string& name) {
    auto& device = device_of(it.to, name);
    auto type = get(device, "type");
    if (is_root(device)) return {};
    if (type == "disk" && is_machine()) return driver().plug(it.who, *drive(it.to, name));
    if (type == "disk") return driver().plug(it.who, *mount(it.to, name));
    if (type == "nic" && is_machine()) return plug_tap(name);
    if (type == "nic") {
      auto card = link(it.to, name);
      auto done = plug_nic(card, it.who.leader).and_then([&] { return settle_nic(card); });
      if (done) return done;
      // What is not found is no thing of ours that was asked for.
      auto code = done.error().code == fault::not_found ? fault::invalid : done.error().code;
      return fail(code, "Device \"" + name + "\": " + done.error().message);
    }
    if (is_found(device)) return plug_found(name);
    if (type.starts_with("unix-")) {
      auto node = node_of(name, device);
      if (!node) return tl::unexpected{node.error()};
      return *node ? driver().plug(it.who, **node) : outcome<void>{};
    }
    if (!has_forwarder(device)) return {};
    auto ended = [tell = it.forwarder_ended, name] { tell(name); };
    auto started = start_forwarder(with, it.who, name, device, ended);
    if (!started) return tl::unexpected{started.error()};
    it.running[name] = std::move(*started);
    return {};
  }

  outcome<void> plug_tap(const std::string& name) {
    auto plan = card(it.to, name);
    auto end = link(it.to, name);
    auto tap = open_tap(end);
    if (!tap) return tl::unexpected{tap.error()};
    plan->queues = {std::make_shared<unique_fd>(std::move(*tap))};
    if (auto settled = settle_nic(end); !settled) return settled;
    return driver().plug(it.who, *plan);
  }

  std::vector<std::string> names() const {
    std::set<std::string> all;
    for (auto& from : it.from)
      for (auto& [name, device] : from.devices) all.insert(name);
    for (auto& [name, device] : it.to.devices) all.insert(name);
    std::vector<std::string> out{all.begin(), all.end()};
    // A disk within another comes behind it.
    std::stable_sort(out.begin(), out.end(), [&](auto& a, auto& b) {
      return get(device_of(it.to, a), "path") < get(device_of(it.to, b), "path");
    });
    return out;
  }

  outcome<void> take_away(const std::vector<std::string>& names) {
    for (auto& name : names)
      for (auto& from : it.from)
        if (auto done = unplug(from, name); !done) return done;
    if (it.repair)
      for (auto& name : names)
        if (auto done = unplug(it.to, name); !done) return done;
    return {};
  }

  outcome<void> run() {
    auto limits = driver().limit(it.who.key, it.to.config, disk_limits());
    if (!limits) return limits;
    std::vector<std::string> replugged, settled;
    for (auto& name : names()) {
      auto change = kind_of_change(name);
      if (change == device_change::replug) replugged.push_back(name);
      if (change == device_change::in_place && get(device_of(it.to, name), "type") == "nic") settled.push_back(name);
    }
    if (auto done = take_away(replugged); !done) return done;
    for (auto& name : settled)
      for (auto& from : it.from) unsettle_nic(link(from, name));
    bool had_rules = std::any_of(it.from.begin(), it.from.end(), has_rules);
    if (had_rules || has_rules(it.to))
      if (auto done = apply_rules_of(it.to, it.table); !done) return done;
    for (auto& name : settled)
      if (auto done = settle_nic(link(it.to, name)); !done) return done;
    for (auto& name : replugged)
      if (auto done = plug(name); !done) return done;
    for (auto& [name, device] : it.to.devices)
      if (is_found(device) && std::find(replugged.begin(), replugged.end(), name) == replugged.end())
        if (auto done = follow_host(name); !done) return done;
    return {};
  }
};

} // namespace

outcome<host_now> change_host(services& with, host_change what) {
  changer change{with, what};
  if (auto done = change.run(); !done) return tl::unexpected{done.error()};
  return host_now{std::move(what.running), std::move(what.to.devices)};
}

outcome<void> make_taps(boot_plan& plan, const host_change& behind) {
  if (behind.type != schema::InstanceType::VIRTUAL_MACHINE) return {};
  auto cards = nics_of(behind.to);
  for (size_t i = 0; i < cards.size(); ++i) {
    auto tap = open_tap(link_of(cards[i], behind.table));
    if (!tap) return fail(tap.error().code, "Device \"" + cards[i].device + "\": " + tap.error().message);
    plan.nics[i].queues = {std::make_shared<unique_fd>(std::move(*tap))};
  }
  return {};
}

outcome<void> prepare_host(const expansion& effective, const std::string& table) {
  for (auto& nic : nics_of(effective))
    if (auto there = prepare_nic(link_of(nic, table)); !there)
      return fail(there.error().code, "Device \"" + nic.device + "\": " + there.error().message);
  return has_rules(effective) ? apply_rules_of(effective, table) : outcome<void>{};
}

outcome<forwarders> complete_host(services& with, const host_change& what) {
  for (auto& nic : nics_of(what.to)) {
    auto card = link_of(nic, what.table);
    auto done = claim_nic(card).and_then([&] { return settle_nic(card); });
    if (!done) return tl::unexpected{done.error()};
  }
  forwarders out;
  for (auto& [name, device] : what.to.devices) {
    if (!has_forwarder(device)) continue;
    auto started = start_forwarder(with, what.who, name, device, [tell = what.forwarder_ended, n = name] { tell(n); });
    if (started) {
      out[name] = std::move(*started);
      continue;
    }
    for (auto& [other, process] : out) end_forwarder(process); // TPMs as well
    return tl::unexpected{started.error()};
  }
  return out;
}

void clear_host_of(const expansion& last, const std::string& table) {
  if (has_rules(last)) static_cast<void>(apply_rules_of({}, table));
  for (auto& nic : nics_of(last)) {
    unsettle_nic(link_of(nic, table));
    release_nic(link_of(nic, table));
  }
}

void remove_links(const std::vector<nic_link>& links) {
  for (auto& link : links)
    if (link.has_host_end()) static_cast<void>(remove_link(link.host_name, link.mark));
}

} // namespace troupe
