#pragma once

#include "messages/error.hpp"
#include "net/bridge.hpp"

#include <string>
#include <vector>

namespace troupe {

/// A host that dnsmasq knows by name: one file NETWORK/dnsmasq.hosts/KEY per nic.
struct dhcp_host {
  std::string key;      // file name: "c1.eth0"
  std::string hwaddr;
  std::string hostname; // DNS name
  std::string ipv4, ipv6; // static lease, usually empty
};

struct dhcp_lease {
  std::string hostname, hwaddr, address;
  bool is_static = false;
};

/// Argument vector of the network's dnsmasq (foreground, unprivileged user, no config file); `dir` is the network's state folder
/// (pid, leases, hosts). Empty when the plan needs neither DHCP nor DNS.
outcome<std::vector<std::string>> dnsmasq_command(const bridge_plan& plan, const std::string& dir);

outcome<void> add_dhcp_host(const std::string& dir, const dhcp_host& host);
outcome<void> remove_dhcp_host(const std::string& dir, const std::string& key);
/// All hosts the directory knows, to reconcile with.
outcome<std::vector<dhcp_host>> list_dhcp_hosts(const std::string& dir);
/// Dynamic leases (dnsmasq's lease file) and static ones, and the gateway rows are left to the caller.
outcome<std::vector<dhcp_lease>> list_leases(const std::string& dir);
/// Tells dnsmasq that a dynamic IPv4 lease is free (a DHCPRELEASE on the bridge), so that nothing of a deleted instance stays.
outcome<void> release_lease(const bridge_plan& plan, const std::string& dir, const std::string& hwaddr);

} // namespace troupe
