#pragma once

#include "messages/error.hpp"
#include "messages/message.hpp"
#include "messages/network.capnp.h"

#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe {

struct link_address {
  std::string family, address, netmask, scope;
}; // inet/inet6, "10.0.0.2", "24", global/link/local
struct link_counters {
  uint64_t rx_bytes = 0, tx_bytes = 0, rx_packets = 0, tx_packets = 0;
  uint64_t rx_errors = 0, tx_errors = 0, rx_dropped = 0, tx_dropped = 0;
};
struct link_facts {
  std::string name, hwaddr, type; // type as LXD shows it: broadcast, loopback, point-to-point, unknown
  std::string kind;               // IFLA_INFO_KIND: bridge, veth, ..., empty: physical
  std::string master;
  std::string peer; // veth: host name of the other end where known in the asking namespace
  int index = 0, peer_index = 0, mtu = 0;
  bool up = false;
  std::vector<link_address> addresses;
  link_counters counters;
};

/// What LXD's network state shows of a bridge.
struct bridge_facts {
  std::string id; // "8000.00163e010203"
  bool stp = false, vlan_filtering = false;
  uint64_t forward_delay = 0; // in hundredths of a second, as the kernel has it
  uint64_t vlan_default = 0;
  std::vector<std::string> upper_devices; // its ports, sorted
};

/// Links of the host's network namespace.
outcome<std::vector<link_facts>> list_links();
/// Links inside the network namespace of process `leader`. Blocks for microseconds; the calling thread is back in its
/// own namespace at return.
outcome<std::vector<link_facts>> list_links_of(pid_t leader);
outcome<link_facts> get_link(const std::string& name);
/// By sysfs, so of the namespace sysfs was mounted in. not_found: no such link, or it is no bridge.
outcome<bridge_facts> get_bridge(const std::string& name);
/// Says whose a veth end is, where nothing inside an instance can change it: in its alias. At most 255 bytes.
/// already_exists: it has another's.
outcome<void> mark_link(const std::string& name, const std::string& mark);
/// Deletes a veth end that bears this mark. No such link, or one of somebody else: nothing to do.
outcome<void> remove_link(const std::string& name, const std::string& mark);

} // namespace troupe
