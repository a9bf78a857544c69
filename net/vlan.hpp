#pragma once

#include "net/netlink.hpp"
#include "net/nic.hpp"

namespace troupe {

// VLANs of the host's side of a card. Blocking, from any thread; may be repeated.

/// Puts a port of a bridge into its VLANs and takes it out of all others. unsupported: the kernel's bridges know none;
/// invalid: the bridge looks at none, and is not ours to be told to.
outcome<void> set_port_vlans(nl_sock* socket, const std::string& bridge, const std::string& port,
                             const port_vlans& wanted);

/// The link of a VLAN, made where there is none. It stays while marks hold it, those of other daemons included.
/// `alone`: it is to be moved away, so that nobody else may use it.
outcome<void> hold_vlan(nl_sock* socket, const std::string& name, const vlan_link& what, const std::string& mark,
                        bool alone);
/// The last one removes the link, if it was made by hold_vlan.
void release_vlan(nl_sock* socket, const std::string& name, const std::string& mark);

} // namespace troupe
