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
  std::string ipv4_ranges, ipv6_ranges; // "first-last[,first-last]", empty: the whole subnet
  std::string ipv4_expiry = "1h", ipv6_expiry = "1h";
  std::string ipv4_gateway;
  std::string domain = "lxd";
  std::vector<std::string> dns_search; // told by DHCP; empty: the domain
  std::string dns_mode = "managed";    // managed, dynamic, none
};

/// Checks the config of a network of type bridge against its key table: unknown key, bad value, contradiction.
outcome<void> check_bridge_config(const config_map& config);
/// Fills in what LXD fills in at creation: missing addresses become "auto", auto ones a free subnet with NAT on (IPv6:
/// "none" where the host has IPv6 disabled). hwaddr is not stored but derived. `taken`: subnets of other networks of
/// this daemon, as CIDR; a chosen or given address that overlaps one of them is refused (in_use).
outcome<config_map> complete_bridge_config(config_map config, const std::vector<std::string>& taken);
/// The part of it that also holds for an update, where a missing address means none: only "auto" is replaced.
outcome<config_map> resolve_bridge_addresses(config_map config, const std::vector<std::string>& taken);
/// Checks the config (as above, and that no address is still "auto") and types it. Without bridge.hwaddr the MAC
/// is 00:16:3e and three bytes hashed from name and addresses: stable as long as these are.
outcome<bridge_plan> plan_bridge(const std::string& name, const config_map& config);

/// Makes the kernel's bridge equal to the plan: wanted and found are compared, only the difference is applied, so that
/// a second call changes nothing and drops no packet. Addresses of global scope that are not in the plan are removed
/// from the bridge, so ask `get_link` before the first call whether the name is free. Adds forwarding sysctls. By
/// libnl. Fails with in_use when the name belongs to a link that is no bridge, unsupported when IPv6 is wanted and the
/// host has none.
outcome<void> apply_bridge(const bridge_plan& plan);
/// Deletes it; a bridge that is gone is fine, a link of that name that is no bridge is in_use.
outcome<void> remove_bridge(const std::string& name);

/// nftables of one daemon: table `inet TABLE` with all its bridges' NAT, DHCP/DNS input and forward rules, replaced in
/// one atomic transaction through libnftables. An empty list deletes the table. Nothing happens when it equals the last
/// one this process applied. Thread-safe; calls are serialized.
outcome<void> apply_firewall(const std::string& table, const std::vector<bridge_plan>& bridges);
/// The transaction apply_firewall would run, in nft's language.
outcome<std::string> firewall_text(const std::string& table, const std::vector<bridge_plan>& bridges);

} // namespace troupe
