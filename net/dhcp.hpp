#pragma once

#include "messages/error.hpp"
#include "net/bridge.hpp"

#include <string>
#include <vector>

namespace troupe {

/// A host that dnsmasq knows by name: one file NETWORK/dnsmasq.hosts/KEY per nic.
struct dhcp_host {
  std::string key;        // file name: "c1.eth0"; letters, digits and "._-"
  std::string hwaddr;     // empty in a list: the file is damaged, write it again or remove it
  std::string hostname;   // DNS name, one label; wins over what the client calls itself; empty: no name
  std::string ipv4, ipv6; // static lease, usually empty
};

struct dhcp_lease {
  std::string hostname, hwaddr, address;
  bool is_static = false;
};

/// Whether the running dnsmasq sees a change by itself (inotify) or has to be sent SIGHUP. It only notices new files.
enum class dhcp_notice : bool { none, sighup };

/// Argument vector of the network's dnsmasq (foreground, unprivileged user, no config file, nothing written but the
/// lease file); `dir` is the network's state folder. Empty when the plan needs neither DHCP nor DNS. The answer is a
/// pure function of the plan and `dir`, so that a changed vector means: restart dnsmasq. Also makes what dnsmasq needs
/// in `dir`, whose parent must exist: DIR and DIR/dnsmasq.hosts belong to root and dnsmasq's group, 0710 and 0750;
/// DIR/dnsmasq.leases is 0600 (dnsmasq opens it before it drops root). All folders above DIR must let others pass
/// (0711).
outcome<std::vector<std::string>> dnsmasq_command(const bridge_plan& plan, const std::string& dir);

/// Writes the host's file (atomically); an equal one is left alone. Calls for different keys may run in parallel.
outcome<dhcp_notice> add_dhcp_host(const std::string& dir, const dhcp_host& host);
/// Removes it and what an interrupted add left; gone already is fine.
outcome<dhcp_notice> remove_dhcp_host(const std::string& dir, const std::string& key);
/// All hosts the directory knows, to reconcile with; no directory: none.
outcome<std::vector<dhcp_host>> list_dhcp_hosts(const std::string& dir);
/// Static leases, then those of dnsmasq's lease file that have not run out; the gateway rows are left to the caller.
/// A DHCPv6 lease shows the MAC in the client's DUID, or that of the host with its name, else none.
outcome<std::vector<dhcp_lease>> list_leases(const std::string& dir);
/// Tells dnsmasq that the leases of `hwaddr` are free (DHCPRELEASE, DHCPv6 RELEASE, sent as if on the bridge), so that
/// nothing of a deleted instance stays; call it before remove_dhcp_host. dnsmasq acts on it at once but does not
/// confirm; when it does not run the lease stays until it runs out. No lease is fine, and so is a bridge that is gone.
outcome<void> release_lease(const bridge_plan& plan, const std::string& dir, const std::string& hwaddr);

} // namespace troupe
