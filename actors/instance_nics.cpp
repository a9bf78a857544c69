#include "actors/instance_nics.hpp"

#include "actors/device_options.hpp"
#include "actors/names.hpp"
#include "net/rates.hpp"
#include "runtime/uuid.hpp"

#include <set>

namespace troupe {
namespace {

std::string volatile_key(std::string_view device, std::string_view what) {
  return "volatile." + std::string{device} + "." + std::string{what};
}

// A host-side name that is unique on the machine as long as MACs are: daemons side by side never meet.
std::string host_name_for(std::string_view mac) {
  std::string out = "veth";
  for (char c : mac.substr(9))
    if (c != ':') out += c;
  return out + random_mac().substr(15);
}

nic_kind kind_of_nic(const config_map& device) {
  constexpr std::pair<std::string_view, nic_kind> words[] = {{"p2p", nic_kind::p2p},
                                                             {"routed", nic_kind::routed},
                                                             {"macvlan", nic_kind::macvlan},
                                                             {"physical", nic_kind::physical},
                                                             {"ipvlan", nic_kind::ipvlan}};
  for (auto [word, kind] : words)
    if (get(device, "nictype") == word) return kind;
  return nic_kind::bridged;
}

std::vector<std::string> list_of(const nic_facts& nic, std::string_view option) {
  auto list = get(nic.config, option);
  return list.empty() ? std::vector<std::string>{} : words_of(list);
}

uint32_t number_of(const nic_facts& nic, std::string_view option) {
  return static_cast<uint32_t>(std::strtoul(std::string{get(nic.config, option)}.c_str(), nullptr, 10));
}

uint64_t rate_of(const nic_facts& nic, std::string_view option) {
  auto both = get(nic.config, "limits.max"), own = get(nic.config, option);
  return parse_bits(own.empty() ? both : own).value_or(0);
}

constexpr const char* families[] = {"ipv4", "ipv6"};

// On its link's own network, where a prefix length counts.
bool is_layer2(const nic_facts& nic) { return nic.kind == nic_kind::ipvlan && option_of(nic.config, "mode") == "l2"; }

std::vector<std::string> inner_addresses(const nic_facts& nic) {
  std::vector<std::string> out;
  if (nic.kind != nic_kind::routed && nic.kind != nic_kind::ipvlan) return out;
  bool layer2 = is_layer2(nic);
  auto add = [&](std::string_view option, const char* prefix) {
    for (auto& address : list_of(nic, option))
      out.push_back(address.find('/') == address.npos ? address + prefix : address);
  };
  add("ipv4.address", layer2 ? "/24" : "/32");
  add("ipv6.address", layer2 ? "/64" : "/128");
  return out;
}

std::vector<std::string> host_addresses(const nic_facts& nic, bool gateways_only) {
  std::vector<std::string> out;
  if (nic.kind != nic_kind::routed) return out;
  for (std::string family : families) {
    bool wanted = !gateways_only || option_of(nic.config, family + ".gateway") == "auto";
    if (!get(nic.config, family + ".address").empty() && wanted)
      out.emplace_back(option_of(nic.config, family + ".host_address"));
  }
  return out;
}

std::vector<std::string> inner_gateways(const nic_facts& nic) {
  if (nic.kind != nic_kind::ipvlan) return host_addresses(nic, true);
  std::vector<std::string> out;
  for (std::string family : families) {
    auto set = get(nic.config, family + ".gateway");
    if (get(nic.config, family + ".address").empty()) continue;
    if (is_layer2(nic) && !set.empty() && set != "none") out.emplace_back(set);
    if (!is_layer2(nic) && set != "none") out.emplace_back(family == "ipv4" ? "0.0.0.0" : "::");
  }
  return out;
}

port_vlans port_vlans_of(const nic_facts& nic) {
  port_vlans out;
  out.untagged = get(nic.config, "vlan");
  out.managed = nic.managed;
  for (auto& one : list_of(nic, "vlan.tagged")) {
    auto dash = one.find('-');
    auto first = static_cast<uint16_t>(std::strtoul(one.c_str(), nullptr, 10));
    auto last = dash == one.npos ? first : static_cast<uint16_t>(std::strtoul(one.c_str() + dash + 1, nullptr, 10));
    out.tagged.emplace_back(first, last);
  }
  return out;
}

// What the card lies on: its parent, or a VLAN of it.
std::string parent_of(const nic_facts& nic) {
  auto vlan = get(nic.config, "vlan");
  return nic.kind == nic_kind::bridged || vlan.empty() ? nic.bridge : nic.bridge + "." + std::string{vlan};
}

} // namespace

nic_plan plan_of(const nic_facts& nic) {
  nic_plan plan{nic.kind == nic_kind::routed ? std::string{} : parent_of(nic),
                nic.host_name,
                nic.name,
                nic.hwaddr,
                nic.mtu,
                nic.kind};
  plan.device = nic.device;
  plan.addresses = inner_addresses(nic);
  plan.gateways = inner_gateways(nic);
  if (nic.kind == nic_kind::ipvlan) plan.mode = option_of(nic.config, "mode");
  return plan;
}

nic_link link_of(const nic_facts& nic, const std::string& table) {
  nic_link link;
  link.what = static_cast<nic_link::kind>(nic.kind);
  link.parent = parent_of(nic);
  link.host_name = nic.host_name;
  link.mark = table + "." + nic.device;
  link.name = nic.name;
  link.hwaddr = nic.hwaddr;
  link.mtu = nic.mtu;
  link.addresses = inner_addresses(nic);
  link.gateways = inner_gateways(nic);
  if (nic.kind == nic_kind::ipvlan) link.mode = option_of(nic.config, "mode");
  if (nic.kind == nic_kind::bridged)
    link.vlans = port_vlans_of(nic);
  else if (link.parent != nic.bridge)
    link.vlan = {nic.bridge, static_cast<uint16_t>(number_of(nic, "vlan")), is_true(get(nic.config, "gvrp"))};
  for (auto& address : host_addresses(nic, false))
    link.host_addresses.push_back(address + (address.find(':') == address.npos ? "/32" : "/128"));
  for (std::string family : families) {
    for (auto& route : list_of(nic, family + ".routes")) link.routes.push_back(route);
    if (auto number = number_of(nic, family + ".host_table"); number > 0) link.tables.push_back(number);
  }
  link.ingress = rate_of(nic, "limits.ingress");
  link.queue_length = number_of(nic, "queue.tx.length");
  link.isolated = is_true(get(nic.config, "security.port_isolation"));
  return link;
}

nic_rules rules_of(const nic_facts& nic) {
  nic_rules rules{nic.host_name, nic.hwaddr, nic.kind == nic_kind::bridged};
  if (nic.kind >= nic_kind::macvlan) return rules; // nothing of it on the host
  rules.mac_filtering = is_true(get(nic.config, "security.mac_filtering"));
  rules.ipv4_filtering = is_true(get(nic.config, "security.ipv4_filtering"));
  rules.ipv6_filtering = is_true(get(nic.config, "security.ipv6_filtering"));
  rules.ipv4 = nic.ipv4;
  rules.ipv6 = nic.ipv6;
  rules.egress = rate_of(nic, "limits.egress");
  rules.priority = number_of(nic, "limits.priority");
  return rules;
}

std::vector<nic_facts> nics_of(const expansion& effective) {
  std::vector<nic_facts> out;
  for (auto& [device, config] : effective.devices) {
    if (get(config, "type") != "nic") continue;
    auto pick = [&, &device = device, &config = config](std::string_view key) {
      auto own = get(config, key);
      return std::string{own.empty() ? get(effective.config, volatile_key(device, key)) : own};
    };
    nic_facts nic{device, std::string{get(config, "network")}};
    nic.managed = !nic.network.empty();
    nic.bridge = nic.managed ? nic.network : std::string{get(config, "parent")};
    nic.kind = kind_of_nic(config);
    nic.config = config;
    nic.host_name = pick("host_name");
    nic.hwaddr = pick("hwaddr");
    nic.name = pick("name");
    if (nic.name.empty()) nic.name = "eth" + std::to_string(out.size());
    nic.ipv4 = get(config, "ipv4.address");
    nic.ipv6 = get(config, "ipv6.address");
    nic.mtu = static_cast<uint32_t>(std::strtoul(std::string{get(config, "mtu")}.c_str(), nullptr, 10));
    out.push_back(std::move(nic));
  }
  return out;
}

namespace {

// eth0, eth1, …: a card keeps its name when others come and go.
void settle_names(config_map& own_config, const expansion& effective) {
  std::set<std::string, std::less<>> taken;
  for (auto& [device, config] : effective.devices) {
    auto own = get(config, "name"), kept = get(own_config, volatile_key(device, "name"));
    if (get(config, "type") == "nic") taken.emplace(own.empty() ? kept : own);
  }
  for (auto& [device, config] : effective.devices) {
    if (get(config, "type") != "nic" || !get(config, "name").empty()) continue;
    auto& kept = own_config[volatile_key(device, "name")];
    for (int i = 0; kept.empty(); ++i)
      if (auto name = "eth" + std::to_string(i); taken.insert(name).second) kept = name;
  }
}

std::string cloud_init_id(const std::string& name, const config_map& own_config, const expansion& effective) {
  auto told = std::string{get(own_config, "volatile.uuid")} + '\0' + name;
  static constexpr std::string_view older[] = {"user.meta-data", "user.network-config", "user.user-data",
                                               "user.vendor-data"};
  for (auto& [key, value] : effective.config)
    if (key.starts_with("cloud-init.") || std::find(std::begin(older), std::end(older), key) != std::end(older))
      told += '\0' + key + '\0' + value;
  for (auto& [device, config] : effective.devices) {
    if (get(config, "type") != "nic") continue;
    auto own = get(config, "name");
    told += '\0';
    told += own.empty() ? get(own_config, volatile_key(device, "name")) : own;
  }
  return uuid_of(told);
}

} // namespace

void settle_volatile(const std::string& name, config_map& own_config, const expansion& effective) {
  std::erase_if(own_config, [&](auto& entry) {
    auto& key = entry.first;
    if (!key.starts_with("volatile.") ||
        !(key.ends_with(".hwaddr") || key.ends_with(".host_name") || key.ends_with(".name")))
      return false;
    auto device = key.substr(9, key.rfind('.') - 9);
    auto at = effective.devices.find(device);
    return at == effective.devices.end() || get(at->second, "type") != "nic";
  });
  for (auto& [device, config] : effective.devices) {
    if (get(config, "type") != "nic") continue;
    auto kind = kind_of_nic(config);
    if (kind == nic_kind::physical || kind == nic_kind::ipvlan) continue; // its link's
    auto mac = std::string{get(config, "hwaddr")};
    if (mac.empty()) {
      auto& kept = own_config[volatile_key(device, "hwaddr")];
      if (kept.empty()) kept = random_mac();
      mac = kept;
    }
    if (kind != nic_kind::macvlan && get(config, "host_name").empty()) {
      auto& kept = own_config[volatile_key(device, "host_name")];
      if (kept.empty()) kept = host_name_for(mac);
    }
  }
  settle_names(own_config, effective);
  own_config["volatile.cloud-init.instance-id"] = cloud_init_id(name, own_config, effective);
}

} // namespace troupe
