#include "net/bridge.hpp"
#include "net/bridge_keys.hpp"
#include "net/cidr.hpp"
#include "net/free_subnet.hpp"
#include "net/names.hpp"
#include "net/ranges.hpp"
#include "net/sysctl.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace troupe {
namespace {

struct family_keys {
  int family;
  const char* address;
  const char* nat;
};

constexpr family_keys families[] = {{AF_INET, "ipv4.address", "ipv4.nat"}, {AF_INET6, "ipv6.address", "ipv6.nat"}};

std::string value_of(const config_map& config, std::string_view key) {
  auto value = get(config, key);
  return std::string{value.empty() ? find_bridge_key(key)->fallback : value};
}

bool on(const config_map& config, std::string_view key) { return is_true(value_of(config, key)); }

outcome<std::vector<cidr>> parse_taken(const std::vector<std::string>& taken) {
  std::vector<cidr> out;
  for (auto& text : taken) {
    auto subnet = parse_cidr(text);
    if (!subnet) return fail(fault::internal, "The list of taken subnets has a malformed entry");
    out.push_back(*subnet);
  }
  return out;
}

outcome<std::string> resolve(const family_keys& keys, const std::string& wanted, const std::vector<cidr>& taken) {
  if (wanted == "auto") {
    if (keys.family == AF_INET6 && !has_ipv6()) return "none";
    auto used = host_subnets();
    if (!used) return tl::unexpected{used.error()};
    used->insert(used->end(), taken.begin(), taken.end());
    auto picked = pick_free_subnet(keys.family, *used);
    return picked ? outcome<std::string>{cidr_text(*picked)} : tl::unexpected{picked.error()};
  }
  auto given = parse_cidr(wanted, keys.family);
  if (!given) return wanted;
  for (auto& other : taken)
    if (overlap(*given, other))
      return fail(fault::in_use, "\"" + std::string{keys.address} + "\" overlaps another network's subnet " +
                                     cidr_text(network_of(other)));
  return wanted;
}

/// FNV-1a: the same on every host and in every version, which std::hash does not promise.
uint64_t stable_hash(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  return hash ^ (hash >> 32);
}

std::string derived_hwaddr(const bridge_plan& plan) {
  auto hash = static_cast<unsigned>(stable_hash(plan.name + "\n" + plan.ipv4 + "\n" + plan.ipv6));
  char text[18];
  std::snprintf(text, sizeof text, "00:16:3e:%02x:%02x:%02x", hash >> 16 & 0xff, hash >> 8 & 0xff, hash & 0xff);
  return text;
}

outcome<std::string> planned_address(const family_keys& keys, const config_map& config) {
  auto value = value_of(config, keys.address);
  if (value == "none") return std::string{};
  auto parsed = parse_cidr(value, keys.family);
  if (!parsed) return fail(fault::invalid, "\"" + std::string{keys.address} + "\" has no address yet");
  return cidr_text(*parsed); // one spelling, so that equal plans compare equal
}

std::string planned_ranges(std::string_view value, int family) {
  std::string out;
  auto ranges = parse_ranges(value, family);
  if (!ranges) return out; // not set
  for (auto& range : *ranges) out += (out.empty() ? "" : ",") + ip_text(range.first) + "-" + ip_text(range.last);
  return out;
}

void plan_v4(bridge_plan& plan, const config_map& config) {
  plan.ipv4_nat = on(config, "ipv4.nat");
  plan.ipv4_dhcp = on(config, "ipv4.dhcp");
  plan.ipv4_routing = on(config, "ipv4.routing");
  plan.ipv4_firewall = on(config, "ipv4.firewall");
  plan.ipv4_ranges = planned_ranges(value_of(config, "ipv4.dhcp.ranges"), AF_INET);
  plan.ipv4_expiry = value_of(config, "ipv4.dhcp.expiry");
  plan.ipv4_gateway = value_of(config, "ipv4.dhcp.gateway");
}

void plan_v6(bridge_plan& plan, const config_map& config) {
  plan.ipv6_nat = on(config, "ipv6.nat");
  plan.ipv6_dhcp = on(config, "ipv6.dhcp");
  plan.ipv6_stateful = on(config, "ipv6.dhcp.stateful");
  plan.ipv6_routing = on(config, "ipv6.routing");
  plan.ipv6_firewall = on(config, "ipv6.firewall");
  plan.ipv6_ranges = planned_ranges(value_of(config, "ipv6.dhcp.ranges"), AF_INET6);
  plan.ipv6_expiry = value_of(config, "ipv6.dhcp.expiry");
}

void plan_rest(bridge_plan& plan, const config_map& config) {
  auto mtu = value_of(config, "bridge.mtu");
  std::from_chars(mtu.data(), mtu.data() + mtu.size(), plan.mtu);
  plan.domain = value_of(config, "dns.domain");
  plan.dns_mode = value_of(config, "dns.mode");
  auto search = value_of(config, "dns.search");
  if (!search.empty())
    for (auto part : split_list(search)) plan.dns_search.emplace_back(part);
  plan.hwaddr = lower(value_of(config, "bridge.hwaddr"));
  if (plan.hwaddr.empty()) plan.hwaddr = derived_hwaddr(plan);
}

} // namespace

outcome<config_map> resolve_bridge_addresses(config_map config, const std::vector<std::string>& taken) {
  if (auto ok = check_bridge_config(config); !ok) return tl::unexpected{ok.error()};
  auto others = parse_taken(taken);
  if (!others) return tl::unexpected{others.error()};
  for (auto& keys : families) {
    auto at = config.find(keys.address);
    if (at == config.end()) continue;
    auto resolved = resolve(keys, at->second, *others);
    if (!resolved) return tl::unexpected{resolved.error()};
    at->second = *resolved;
  }
  if (auto ok = check_bridge_config(config); !ok)
    return tl::unexpected{ok.error()}; // the found subnet against the rest
  return config;
}

outcome<config_map> complete_bridge_config(config_map config, const std::vector<std::string>& taken) {
  std::vector<const family_keys*> automatic;
  for (auto& keys : families) {
    if (get(config, keys.address).empty()) config[keys.address] = "auto";
    if (config[keys.address] == "auto") automatic.push_back(&keys);
  }
  auto out = resolve_bridge_addresses(std::move(config), taken);
  if (!out) return out;
  for (auto* keys : automatic)
    if ((*out)[keys->address] != "none" && get(*out, keys->nat).empty()) (*out)[keys->nat] = "true";
  return out;
}

outcome<bridge_plan> plan_bridge(const std::string& name, const config_map& config) {
  if (!is_interface_name(name))
    return fail(fault::invalid, "A network name has 2 to 15 letters, digits, dots, hyphens and underscores");
  if (auto ok = check_bridge_config(config); !ok) return tl::unexpected{ok.error()};
  bridge_plan plan;
  plan.name = name;
  auto ipv4 = planned_address(families[0], config);
  if (!ipv4) return tl::unexpected{ipv4.error()};
  auto ipv6 = planned_address(families[1], config);
  if (!ipv6) return tl::unexpected{ipv6.error()};
  plan.ipv4 = *ipv4;
  plan.ipv6 = *ipv6;
  plan_v4(plan, config);
  plan_v6(plan, config);
  plan_rest(plan, config);
  return plan;
}

} // namespace troupe
