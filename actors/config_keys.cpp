#include "actors/config_keys.hpp"

#include "actors/device_options.hpp"
#include "actors/instance_kinds.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "actors/schedule.hpp"
#include "actors/server_keys.hpp"
#include "actors/snapshot_pattern.hpp"
#include "backends/instance/id_maps.hpp"
#include "backends/storage/size.hpp"
#include "backends/storage/storage_driver.hpp"
#include "net/cidr.hpp"
#include "net/names.hpp"
#include "net/proxy_address.hpp"
#include "net/rates.hpp"

#include <algorithm>
#include <charconv>

namespace troupe {
namespace {

using enum value_type;

// "user.*" needs something behind the dot, "raw.qemu*" nothing.
bool matches(std::string_view pattern, std::string_view key) {
  if (!pattern.ends_with('*')) return pattern == key;
  auto family = pattern.substr(0, pattern.size() - 1);
  return key.starts_with(family) && (!family.ends_with('.') || key.size() > family.size());
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

bool is_integer(std::string_view value) {
  if (value.starts_with('-')) value.remove_prefix(1);
  return is_whole(value) && value.size() <= 10;
}

bool is_rlimit(std::string_view value) {
  auto one = [](std::string_view part) { return part == "unlimited" || is_whole(part); };
  auto colon = value.find(':');
  return colon == value.npos ? one(value) : one(value.substr(0, colon)) && one(value.substr(colon + 1));
}

bool is_words(std::string_view value) {
  auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  for (auto& word : words_of(value))
    if (word.empty() || word.size() > 64 || word[0] == '-' || !std::all_of(word.begin(), word.end(), letter))
      return false;
  return true;
}

bool is_mtu(std::string_view value) {
  return is_whole(value) && value.size() <= 5 && std::stoul(std::string{value}) >= 68 &&
         std::stoul(std::string{value}) <= 65535;
}

template <class Check>
bool all_of_list(std::string_view value, Check&& check) {
  auto words = words_of(value);
  return !words.empty() && std::all_of(words.begin(), words.end(), check);
}

bool is_subnet(std::string_view value, int family) {
  auto net = parse_cidr(value, family);
  return net && network_of(*net) == *net && net->prefix > 0; // a default route is the host's own
}

bool is_mode(std::string_view value) {
  return !value.empty() && value.size() <= 4 &&
         std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '7'; });
}

bool is_path(std::string_view value) {
  if (!value.starts_with('/') || value.size() > 4000) return false;
  if (std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) return false;
  for (size_t at = 1; at <= value.size();) {
    auto end = std::min(value.find('/', at), value.size());
    if (value.substr(at, end - at) == "..") return false;
    at = end + 1;
  }
  return true;
}

bool is_vlan(std::string_view value) {
  return is_whole(value) && value.size() <= 4 && value[0] != '0' && std::stoi(std::string{value}) <= 4094;
}

bool is_vlan_range(std::string_view value) {
  auto dash = value.find('-');
  if (dash == value.npos) return is_vlan(value);
  auto first = value.substr(0, dash), last = value.substr(dash + 1);
  return is_vlan(first) && is_vlan(last) && std::stoi(std::string{first}) < std::stoi(std::string{last});
}

bool is_address(std::string_view value, int family) {
  return parse_ip(value, family).has_value() || parse_cidr(value, family).has_value();
}

struct form_row {
  value_type type;
  std::string_view words;
  bool (*good)(std::string_view);
};
constexpr form_row forms[] = {
    {value_type::text, "text", nullptr},
    {boolean, "true or false", is_boolean},
    {whole, "a whole number", is_whole},
    {value_type::size, "a size", [](std::string_view v) { return parse_size(v).has_value(); }},
    {memory, "a size or a percentage", [](std::string_view v) { return is_percent(v) || parse_size(v).has_value(); }},
    {cpus, "a number or a set", is_cpu_set},
    {allowance, "a percentage or a time", is_allowance},
    {lines, "lines", nullptr},
    {line, "text", [](std::string_view v) { return v.find('\n') == v.npos; }},
    {integer, "a number", is_integer},
    {level, "0 to 10", [](std::string_view v) { return v == "10" || (v.size() == 1 && v[0] >= '0' && v[0] <= '9'); }},
    {rlimit, "a limit, or soft:hard", is_rlimit},
    {names, "a list of names", is_words},
    {hwaddr, "a MAC address", is_hwaddr},
    {value_type::link, "an interface name", is_interface_name},
    {mtu, "68 to 65535", is_mtu},
    {ipv4, "an IPv4 address", [](std::string_view v) { return parse_ip(v, AF_INET).has_value(); }},
    {ipv6, "an IPv6 address", [](std::string_view v) { return parse_ip(v, AF_INET6).has_value(); }},
    {ipv4_list, "IPv4 addresses",
     [](std::string_view v) { return all_of_list(v, [](auto& one) { return parse_ip(one, AF_INET).has_value(); }); }},
    {ipv6_list, "IPv6 addresses",
     [](std::string_view v) { return all_of_list(v, [](auto& one) { return parse_ip(one, AF_INET6).has_value(); }); }},
    {subnets_v4, "IPv4 subnets",
     [](std::string_view v) { return all_of_list(v, [](auto& one) { return is_subnet(one, AF_INET); }); }},
    {subnets_v6, "IPv6 subnets",
     [](std::string_view v) { return all_of_list(v, [](auto& one) { return is_subnet(one, AF_INET6); }); }},
    {bits, "a rate like 10Mbit", [](std::string_view v) { return parse_bits(v).has_value(); }},
    {disk_io, "a rate like 10MB or 100iops",
     [](std::string_view v) {
       return parse_size(v).has_value() || (v.ends_with("iops") && is_whole(v.substr(0, v.size() - 4)));
     }},
    {span, "spans like 1M 2H 3d 4w 5m 6y", [](std::string_view v) { return later_by(0, v).has_value(); }},
    {times, "a cron line, or @daily and the like", [](std::string_view v) { return schedule::parse(v).has_value(); }},
    {pattern, "a pattern with %d", [](std::string_view v) { return render_pattern(v, 0).has_value(); }},
    {idmap, "lines like both 1000 1000, or uid 50-60 500-510, without the root inside",
     [](std::string_view v) { return check_id_exceptions(v).has_value(); }},
    {vlan, "1 to 4094", is_vlan},
    {vlans, "numbers from 1 to 4094, or ranges like 10-20",
     [](std::string_view v) { return all_of_list(v, is_vlan_range); }},
    {ipv4_hosts, "IPv4 addresses",
     [](std::string_view v) { return all_of_list(v, [](auto& one) { return is_address(one, AF_INET); }); }},
    {ipv6_hosts, "IPv6 addresses",
     [](std::string_view v) { return all_of_list(v, [](auto& one) { return is_address(one, AF_INET6); }); }},
    {mode, "an octal mode", is_mode},
    {value_type::path, "an absolute path without \"..\"", is_path},
    {endpoint, "an address like tcp:127.0.0.1:80", [](std::string_view v) { return parse_endpoint(v).has_value(); }},
};

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
  auto row = std::find_if(std::begin(forms), std::end(forms), [type](auto& form) { return form.type == type; });
  return no_control && row != std::end(forms) && (!row->good || row->good(value));
}

std::string_view describe(value_type type) {
  auto row = std::find_if(std::begin(forms), std::end(forms), [type](auto& form) { return form.type == type; });
  return row == std::end(forms) ? std::string_view{} : row->words;
}

bool has_word(std::string_view words, std::string_view word) {
  for (size_t at = 0; at < words.size();) {
    auto end = std::min(words.find(' ', at), words.size());
    if (words.substr(at, end - at) == word) return true;
    at = end + 1;
  }
  return false;
}

outcome<void> check_value(std::string_view key, std::string_view value, value_type type, std::string_view choices) {
  if (is_well_formed(type, value) && (choices.empty() || has_word(choices, value))) return {};
  auto wanted = choices.empty() ? std::string{describe(type)} : "one of: " + std::string{choices};
  return fail(fault::invalid, "\"" + std::string{value} + "\" is no valid value of \"" + std::string{key} +
                                  "\", which takes " + wanted);
}

outcome<void> check_key(std::string_view key) {
  if (key.size() <= 255 && std::none_of(key.begin(), key.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; }))
    return {};
  return fail(fault::invalid,
              "A configuration key must be at most 255 characters without spaces and control characters");
}

namespace {

std::string_view stem_of(const key_row& row) {
  return row.key.ends_with('*') ? row.key.substr(0, row.key.size() - 1) : row.key;
}

std::string_view family_of(std::string_view key) { return key.substr(0, key.find('.')); }

} // namespace

// Policy asks for every key of an instance: among the sorted stems the row is the nearest before the key that matches.
const key_row* find_instance_key(std::string_view key) {
  static const auto sorted = [] {
    std::vector<const key_row*> out;
    for (auto& row : instance_keys()) out.push_back(&row);
    std::sort(out.begin(), out.end(), [](auto* x, auto* y) { return stem_of(*x) < stem_of(*y); });
    return out;
  }();
  auto at = std::upper_bound(sorted.begin(), sorted.end(), key,
                             [](std::string_view wanted, auto* row) { return wanted < stem_of(*row); });
  while (at != sorted.begin()) {
    auto* row = *--at;
    if (matches(row->key, key)) return row;
    if (family_of(row->key) != family_of(key)) break;
  }
  return nullptr;
}

outcome<void> check_instance_config(const config_map& config) {
  for (auto& [key, value] : config) {
    auto row = find_instance_key(key);
    if (!row) return fail(fault::invalid, "Unknown configuration key: " + key);
    if (auto good = check_key(key); !good) return good;
    if (value.empty()) continue; // unset
    if (!row->refused.empty())
      return fail(fault::unsupported, "Config key \"" + key + "\" is not supported: " + std::string{row->refused});
    if (auto good = check_value(key, value, row->type, row->choices); !good) return good;
  }
  return {};
}

namespace {

outcome<void> check_volume_of(const snapshot& from, std::string_view project, const std::string& name,
                              const config_map& device) {
  auto pool = get(device, "pool"), source = get(device, "source");
  if (get(device, "type") != "disk" || get(device, "path") == "/" || pool.empty()) return {};
  auto key = home_of(from, project, feature::volumes) + '/' + std::string{pool} + '/' + std::string{source};
  if (from.get(table::custom_volumes, key)) return {};
  return fail(fault::invalid, "Device \"" + name + "\": the pool \"" + std::string{pool} + "\" has no volume \"" +
                                  std::string{source} + '"');
}

} // namespace

outcome<void> check_expanded(const snapshot& from, std::string_view project, schema::InstanceType type,
                             const expansion& effective) {
  if (auto good = check_kind(type, effective); !good) return good;
  auto root = root_disk(effective.devices);
  if (!root) return fail(fault::invalid, "No root device could be found");
  if (std::count_if(effective.devices.begin(), effective.devices.end(), [](auto& it) { return is_root(it.second); }) >
      1)
    return fail(fault::invalid, "More than one root device was found");
  auto on = get(*root, "pool");
  auto pool = load<schema::PoolSpec>(from, table::pools, on);
  if (!pool) return fail(fault::invalid, "Storage pool \"" + std::string{on} + "\" does not exist");
  bool block = type == schema::InstanceType::VIRTUAL_MACHINE;
  if (!get(*root, "size").empty() && !block && !pool->read([](auto p) { return has_quotas(view(p.getDriver())); }))
    return fail(fault::unsupported,
                "The storage pool \"" + std::string{on} + "\" cannot limit the size of a root disk (only btrfs can)");
  if (!get(effective.config, "raw.seccomp").empty())
    for (auto& [key, value] : effective.config)
      if (key.starts_with("security.syscalls.") && !value.empty() && is_true(value) &&
          key.find("intercept") != key.npos)
        return fail(fault::invalid, "\"raw.seccomp\" is the whole policy: \"" + key + "\" cannot be set beside it");
  if (is_true(get(effective.config, "security.privileged")) && !get(effective.config, "raw.idmap").empty())
    return fail(fault::invalid, "A privileged instance has the host's ids: \"raw.idmap\" cannot be set");
  for (auto& [name, device] : effective.devices) {
    if (auto good = check_volume_of(from, project, name, device); !good) return good;
    auto network = get(device, "network");
    if (get(device, "type") == "nic" && !network.empty() &&
        !from.get(table::networks, in_project(home_of(from, project, feature::networks), network)))
      return fail(fault::invalid, "Device \"" + name + "\": network \"" + std::string{network} + "\" does not exist");
  }
  return {};
}

outcome<void> check_running_change(const expansion& before, const expansion& after) {
  for (auto& key : differences(before.config, after.config))
    if (auto row = find_instance_key(key); row && row->when == applies::stopped)
      return fail(fault::wrong_state,
                  "Config key \"" + key + "\" cannot be changed while the instance is running; stop it first");
  return check_live_devices(before.devices, after.devices);
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
    static constexpr std::string_view known[] = {"acme.",      "backups.", "candid.", "cluster.", "core.", "images.",
                                                 "instances.", "loki.",    "maas.",   "network.", "rbac.", "storage."};
    bool lxd =
        std::any_of(std::begin(known), std::end(known), [&, &k = key](auto prefix) { return k.starts_with(prefix); });
    if (lxd) return fail(fault::unsupported, "Server config key \"" + key + "\" is not supported yet");
    return fail(fault::invalid, "Unknown server configuration key: " + key);
  }
  return {};
}

} // namespace troupe
