#pragma once

#include "actors/records.hpp"
#include "backends/instance/instance_driver.hpp"

#include <vector>

namespace troupe {

/// A network card as the expanded devices and the volatile keys describe it.
struct nic_facts {
  std::string device, network, bridge, host_name, name, hwaddr, ipv4, ipv6;
  uint32_t mtu = 0;
  bool managed = false; // on one of our networks: gets a DHCP host entry
};
std::vector<nic_facts> nics_of(const expansion& effective);

/// Gives every nic without one a MAC and a host-side name, as volatile keys; drops those of devices that are gone. Gives
/// the instance the id by which cloud-init knows it.
void settle_volatile(config_map& own_config, const expansion& effective);

} // namespace troupe
