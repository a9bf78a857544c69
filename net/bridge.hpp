#pragma once

#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

/// What a managed bridge should be. Addresses are CIDR ("10.1.2.1/24"), empty: none.
struct bridge_plan {
  std::string name; // interface name, at most 15 bytes
  std::string hwaddr;
  uint32_t mtu = 1500;
  std::string ipv4, ipv6;
  bool ipv4_nat = false, ipv6_nat = false;
  bool ipv4_dhcp = true, ipv6_dhcp = true, ipv6_stateful = false;
  bool ipv4_routing = true, ipv6_routing = true;
  bool ipv4_firewall = true, ipv6_firewall = true;
  std::string ipv4_ranges, ipv6_ranges; // dnsmasq form "a-b[,c-d]", empty: the whole subnet
  std::string ipv4_expiry = "1h", ipv6_expiry = "1h";
  std::string ipv4_gateway;
  std::string domain = "lxd";
  std::string dns_mode = "managed"; // managed, dynamic, none
};

/// Checks the config of a network of type bridge against its key table: unknown key, bad value, contradiction.
outcome<void> check_bridge_config(const config_map& config);
/// Fills in what LXD fills in at creation: ipv4.address/ipv6.address "auto" -> a free subnet, nat keys, hwaddr is not
/// stored but derived. `taken`: subnets of other networks of this daemon, as CIDR.
outcome<config_map> complete_bridge_config(config_map config, const std::vector<std::string>& taken);
outcome<bridge_plan> plan_bridge(const std::string& name, const config_map& config);

/// Makes the kernel's bridge equal to the plan: wanted and found are compared, only the difference is applied, so that
/// a second call changes nothing and drops no packet. Adds forwarding sysctls. By libnl.
outcome<void> apply_bridge(const bridge_plan& plan);
/// Deletes it; a bridge that is gone is fine.
outcome<void> remove_bridge(const std::string& name);

/// nftables of one daemon: table `inet TABLE` with all its bridges' NAT, DHCP/DNS input and forward rules, replaced in
/// one atomic transaction through libnftables. An empty list deletes the table. Nothing happens when it equals the last.
outcome<void> apply_firewall(const std::string& table, const std::vector<bridge_plan>& bridges);

} // namespace troupe
