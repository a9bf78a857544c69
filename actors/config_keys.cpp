#include "actors/config_keys.hpp"

#include "actors/names.hpp"
#include "actors/schedule.hpp"
#include "actors/server_keys.hpp"
#include "actors/snapshot_pattern.hpp"
#include "backends/storage/size.hpp"
#include "backends/storage/storage_driver.hpp"
#include "net/names.hpp"

#include <algorithm>
#include <charconv>

namespace troupe {
namespace {

using enum value_type;

constexpr key_row keys[] = {
    {"environment.*", text, "", applies::at_once, true, "Environment variable for init and for exec"},
    {"image.*", text, "", applies::at_once, true, "Property of the image the instance was made from"},
    {"limits.cpu", cpus, "", applies::stopped, true, "Number of CPUs, or a set of them (0-3,7)"},
    {"limits.cpu.allowance", allowance, "100%", applies::stopped, true,
     "Share of CPU time: 50% (soft) or 25ms/100ms (hard)"},
    {"limits.memory", memory, "", applies::stopped, true,
     "Memory limit: bytes with a unit, or a percentage of the host's"},
    {"limits.processes", whole, "", applies::stopped, true, "Largest number of processes"},
    {"linux.sysctl.*", text, "", applies::at_restart, false, "Kernel parameter inside the instance's namespaces"},
    {"raw.lxc", lines, "", applies::at_restart, false, "Lines added to the liblxc configuration"},
    {"security.devlxd", boolean, "true", applies::at_restart, true, "Give the instance the guest API (/dev/lxd/sock)"},
    {"security.devlxd.images", boolean, "false", applies::at_once, true,
     "Let the instance download public and cached images"},
    {"security.idmap.isolated", boolean, "false", applies::stopped, true,
     "Give the instance a range of host ids of its own"},
    {"security.idmap.size", whole, "65536", applies::stopped, false, "Size of that range"},
    {"security.nesting", boolean, "false", applies::at_restart, false, "Allow containers inside the instance"},
    {"security.privileged", boolean, "false", applies::stopped, false, "Run without a user namespace"},
    {"snapshots.expiry", span, "", applies::at_once, true,
     "When snapshots expire, behind their making: 1M 2H 3d 4w 5m 6y"},
    {"snapshots.pattern", pattern, "snap%d", applies::at_once, true,
     "Name of a snapshot: %d is a number, {{ creation_date|date:'2006-01-02' }} the time"},
    {"snapshots.schedule", times, "", applies::at_once, true,
     "When snapshots are taken: a cron line, or @hourly, @daily, @weekly, ..."},
    {"snapshots.schedule.stopped", boolean, "false", applies::at_once, true, "Take them of a stopped instance, too"},
    {"user.*", text, "", applies::at_once, true, "Free data of the user"},
    {"volatile.*", text, "", applies::at_once, true, "State kept by the server"},
};

// Known to LXD, not built yet: a clear refusal instead of a typo's.
constexpr std::string_view later[] = {
    "agent.",     "boot.",   "cloud-init.", "cluster.", "limits.",   "linux.",
    "migration.", "nvidia.", "placement.",  "raw.",     "security.", "ubuntu_pro.",
};

bool matches(std::string_view pattern, std::string_view key) {
  if (!pattern.ends_with('*')) return pattern == key;
  return key.size() >= pattern.size() && key.starts_with(pattern.substr(0, pattern.size() - 1));
}

bool is_whole(std::string_view value) {
  uint64_t number = 0;
  auto [end, bad] = std::from_chars(value.data(), value.data() + value.size(), number);
  return !value.empty() && bad == std::errc{} && end == value.data() + value.size();
}

bool is_boolean(std::string_view value) {
  static constexpr std::string_view words[] = {"true", "false", "1", "0", "yes", "no", "on", "off"};
  return std::find(std::begin(words), std::end(words), value) != std::end(words);
}

bool is_percent(std::string_view value) {
  return value.ends_with('%') && is_whole(value.substr(0, value.size() - 1)) && value.size() <= 4;
}

bool is_cpu_set(std::string_view value) {
  return !value.empty() && value.size() <= 1024 &&
         std::all_of(value.begin(), value.end(), [](char c) { return (c >= '0' && c <= '9') || c == '-' || c == ','; });
}

bool is_allowance(std::string_view value) {
  if (is_percent(value)) return true;
  auto slash = value.find("ms/");
  return slash != value.npos && value.ends_with("ms") && is_whole(value.substr(0, slash)) && value.size() > slash + 5 &&
         is_whole(value.substr(slash + 3, value.size() - slash - 5));
}

struct device_key {
  std::string_view type, key;
  value_type form;
};
constexpr device_key device_keys[] = {
    {"disk", "path", text},     {"disk", "pool", text},        {"disk", "size", value_type::size},
    {"nic", "name", text},      {"nic", "network", text},      {"nic", "nictype", text},
    {"nic", "parent", text},    {"nic", "hwaddr", text},       {"nic", "mtu", whole},
    {"nic", "host_name", text}, {"nic", "ipv4.address", text}, {"nic", "ipv6.address", text},
};
constexpr std::string_view later_devices[] = {"unix-char",  "unix-block", "unix-hotplug", "usb", "gpu",
                                              "infiniband", "proxy",      "tpm",          "pci"};

outcome<void> check_disk(const std::string& name, const config_map& device) {
  if (get(device, "path") != "/")
    return fail(fault::unsupported, "Device \"" + name + "\": only the root disk (path \"/\") is supported yet");
  if (get(device, "pool").empty()) return fail(fault::invalid, "Device \"" + name + "\": the root disk needs a pool");
  return {};
}

outcome<void> check_nic(const std::string& name, const config_map& device) {
  auto bad = [&](std::string what) { return fail(fault::invalid, "Device \"" + name + "\": " + std::move(what)); };
  auto network = get(device, "network"), kind = get(device, "nictype"), parent = get(device, "parent");
  if (network.empty() && kind.empty()) return bad("a nic needs \"network\" or \"nictype\"");
  if (!network.empty() && (!kind.empty() || !parent.empty()))
    return bad("\"network\" excludes \"nictype\" and \"parent\"");
  if (!kind.empty() && kind != "bridged")
    return fail(fault::unsupported,
                "Device \"" + name + "\": nictype \"" + std::string{kind} + "\" is not supported yet");
  if (!kind.empty() && !is_interface_name(parent)) return bad("\"parent\" must name a bridge");
  for (auto key : {"name", "host_name"})
    if (auto value = get(device, key); !value.empty() && !is_interface_name(value))
      return bad("\"" + std::string{key} + "\" must be an interface name of at most 15 characters");
  if (auto mac = get(device, "hwaddr"); !mac.empty() && !is_mac(mac)) return bad("\"hwaddr\" must be a MAC address");
  return {};
}

outcome<void> check_device(const std::string& name, const config_map& device) {
  auto type = get(device, "type");
  if (type == "none") return {};
  if (std::find(std::begin(later_devices), std::end(later_devices), type) != std::end(later_devices))
    return fail(fault::unsupported, "Device \"" + name + "\": type \"" + std::string{type} + "\" is not supported yet");
  if (type != "disk" && type != "nic")
    return fail(fault::invalid,
                "Device \"" + name +
                    "\": " + (type.empty() ? "the type is missing" : "unknown type \"" + std::string{type} + "\""));
  for (auto& [key, value] : device) {
    if (key == "type" || key.starts_with("user.")) continue;
    auto row = std::find_if(std::begin(device_keys), std::end(device_keys),
                            [&, &k = key](auto& r) { return r.type == type && r.key == k; });
    if (row == std::end(device_keys))
      return fail(fault::unsupported,
                  "Device \"" + name + "\": key \"" + key + "\" of a " + std::string{type} + " is not supported yet");
    if (!value.empty() && !is_well_formed(row->form, value))
      return fail(fault::invalid, "Device \"" + name + "\": \"" + value + "\" is no valid value of \"" + key + "\"");
  }
  return type == "disk" ? check_disk(name, device) : check_nic(name, device);
}

// What differs between two maps, as keys.
template <class Map>
std::vector<std::string> differences(const Map& a, const Map& b) {
  std::vector<std::string> out;
  for (auto& [key, value] : a)
    if (auto at = b.find(key); at == b.end() || at->second != value) out.push_back(key);
  for (auto& [key, value] : b)
    if (!a.count(key)) out.push_back(key);
  return out;
}

} // namespace

bool is_well_formed(value_type type, std::string_view value) {
  bool no_control = std::none_of(value.begin(), value.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n'; });
  switch (type) {
    case value_type::text:
    case lines:
      return no_control;
    case boolean:
      return is_boolean(value);
    case whole:
      return is_whole(value);
    case value_type::size:
      return parse_size(value).has_value();
    case memory:
      return is_percent(value) || parse_size(value).has_value();
    case cpus:
      return is_cpu_set(value);
    case allowance:
      return is_allowance(value);
    case span:
      return later_by(0, value).has_value();
    case times:
      return schedule::parse(value).has_value();
    case pattern:
      return no_control && render_pattern(value, 0).has_value();
  }
  return false;
}

outcome<void> check_key(std::string_view key) {
  if (key.size() <= 255 && std::none_of(key.begin(), key.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; }))
    return {};
  return fail(fault::invalid,
              "A configuration key must be at most 255 characters without spaces and control characters");
}

std::span<const key_row> instance_keys() { return keys; }

const key_row* find_instance_key(std::string_view key) {
  for (auto& row : keys)
    if (matches(row.key, key)) return &row;
  return nullptr;
}

outcome<void> check_instance_config(const config_map& config) {
  for (auto& [key, value] : config) {
    auto row = find_instance_key(key);
    if (!row) {
      bool known =
          std::any_of(std::begin(later), std::end(later), [&, &k = key](auto prefix) { return k.starts_with(prefix); });
      if (known) return fail(fault::unsupported, "Config key \"" + key + "\" is not supported yet");
      return fail(fault::invalid, "Unknown configuration key: " + key);
    }
    if (auto good = check_key(key); !good) return good;
    if (!value.empty() && !is_well_formed(row->type, value))
      return fail(fault::invalid, "\"" + value + "\" is no valid value of \"" + key + "\"");
  }
  return {};
}

outcome<void> check_devices(const device_map& devices) {
  for (auto& [name, device] : devices) {
    if (auto good = check_plain_name("Device", name); !good) return good;
    for (auto& [key, value] : device)
      if (auto good = check_text(name + "." + key, value); !good) return good;
    if (auto good = check_device(name, device); !good) return good;
  }
  return {};
}

outcome<void> check_expanded(const snapshot& from, const expansion& effective) {
  auto root = root_disk(effective.devices);
  if (!root) return fail(fault::invalid, "No root device could be found");
  auto on = get(*root, "pool");
  auto pool = load<schema::PoolSpec>(from, table::pools, on);
  if (!pool) return fail(fault::invalid, "Storage pool \"" + std::string{on} + "\" does not exist");
  if (!get(*root, "size").empty() && !pool->read([](auto p) { return has_quotas(view(p.getDriver())); }))
    return fail(fault::unsupported,
                "The storage pool \"" + std::string{on} + "\" cannot limit the size of a root disk (only btrfs can)");
  for (auto& [name, device] : effective.devices) {
    auto network = get(device, "network");
    if (get(device, "type") == "nic" && !network.empty() && !from.get(table::networks, in_project("default", network)))
      return fail(fault::invalid, "Device \"" + name + "\": network \"" + std::string{network} + "\" does not exist");
  }
  return {};
}

namespace {

// That changes at once.
device_map without_root_size(device_map devices) {
  for (auto& [name, device] : devices)
    if (get(device, "type") == "disk" && get(device, "path") == "/") device.erase("size");
  return devices;
}

} // namespace

outcome<void> check_running_change(const expansion& before, const expansion& after) {
  for (auto& key : differences(before.config, after.config))
    if (auto row = find_instance_key(key); row && row->when == applies::stopped)
      return fail(fault::wrong_state,
                  "Config key \"" + key + "\" cannot be changed while the instance is running; stop it first");
  if (auto changed = differences(without_root_size(before.devices), without_root_size(after.devices)); !changed.empty())
    return fail(fault::wrong_state,
                "Device \"" + changed.front() + "\" cannot be changed while the instance is running; stop it first");
  return {};
}

std::vector<std::string> changes_at_restart(const expansion& before, const expansion& after) {
  std::vector<std::string> out;
  for (auto& key : differences(before.config, after.config))
    if (auto row = find_instance_key(key); row && row->when == applies::at_restart) out.push_back(key);
  return out;
}

outcome<void> check_server_config(const config_map& config) {
  for (auto& [key, value] : config) {
    if (auto good = check_text(key, value); !good) return good;
    if (key.starts_with("user.") && key.size() > 5) continue;
    if (auto* row = find_server_key(key)) {
      if (auto good = check_server_value(*row, value); !good) return good;
      continue;
    }
    static constexpr std::string_view known[] = {"acme.",   "backups.",   "candid.", "cluster.", "core.",
                                                 "images.", "instances.", "loki.",   "maas.",    "network.",
                                                 "oidc.",   "rbac.",      "storage."};
    bool lxd =
        std::any_of(std::begin(known), std::end(known), [&, &k = key](auto prefix) { return k.starts_with(prefix); });
    if (lxd) return fail(fault::unsupported, "Server config key \"" + key + "\" is not supported yet");
    return fail(fault::invalid, "Unknown server configuration key: " + key);
  }
  return {};
}

} // namespace troupe
