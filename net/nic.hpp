#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe {

/// In which VLANs a port of a bridge is.
struct port_vlans {
  std::string untagged;                              // empty: the bridge's own; "none", or a number
  std::vector<std::pair<uint16_t, uint16_t>> tagged; // ranges, both ends included
  bool managed = false;                              // the bridge is ours: it may be told to look at VLANs
  bool any() const noexcept { return !untagged.empty() || !tagged.empty(); }
};
/// A VLAN of a link of the host, as a link of its own.
struct vlan_link {
  std::string of; // the host's link; empty: there is none to be made
  uint16_t number = 0;
  bool gvrp = false;
};

/// A network card of an instance. The functions below may be repeated, block for as long as the kernel's answer takes,
/// and may be called from any thread.
struct nic_link {
  enum class kind : uint8_t { bridged, p2p, routed, macvlan, physical, ipvlan };
  kind what = kind::bridged;
  std::string parent;    // bridged: the bridge; macvlan, physical, ipvlan: the host's link; routed: may be empty
  std::string host_name; // the host's end of a veth pair
  std::string mark;      // that it bears there: it is only removed with this
  std::string name;      // inside
  std::string hwaddr;
  uint32_t mtu = 0;                             // 0: the parent's
  std::string mode;                             // ipvlan: "l3s", where the host answers for it, or "l2"
  std::vector<std::string> addresses, gateways; // routed, ipvlan: inside; addresses with their prefix length
  std::vector<std::string> host_addresses;      // routed: on the host's end
  std::vector<std::string> routes;              // subnets that the host sends there
  std::vector<uint32_t> tables;                 // further routing tables that get those of a routed card
  uint64_t ingress = 0;                         // bits a second towards the instance, 0: unlimited
  uint32_t queue_length = 0;                    // of the host's end, 0: the kernel's
  bool isolated = false;                        // from other isolated ports of the bridge
  port_vlans vlans;                             // bridged
  vlan_link vlan;                               // what `parent` is, if it is to be made; `parent` is its name
  bool has_host_end() const noexcept { return what < kind::macvlan; }
};

/// Makes the link of the VLAN that a card is to lie on, where the host has none, until it is let go.
/// already_exists: the host has another link of that name; unsupported: the kernel knows no VLANs.
outcome<void> prepare_nic(const nic_link& nic);
void release_nic(const nic_link& nic);
/// Makes the card and puts it, up, into the network namespace of process `leader`.
outcome<void> plug_nic(const nic_link& nic, pid_t leader);
/// Marks the host's end of a card that the driver has made, so that it can be removed.
outcome<void> claim_nic(const nic_link& nic);
/// Takes it out; a physical one is back on the host then, under its own name. A link that is not this card's stays;
/// wrong_state: a card of the host's that cannot be told from others inside.
outcome<void> unplug_nic(const nic_link& nic, pid_t leader);

/// What the host has for a card that exists: addresses, routes, shaping. A route of somebody else is never replaced,
/// and none may overlap with a network that the host is on (already_exists, invalid).
outcome<void> settle_nic(const nic_link& nic);
/// Takes away what would outlive the card itself, on the parent.
void unsettle_nic(const nic_link& nic);

} // namespace troupe
