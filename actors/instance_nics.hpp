#pragma once

#include "actors/records.hpp"
#include "backends/instance/instance_driver.hpp"
#include "net/nic.hpp"
#include "net/nic_rules.hpp"

#include <vector>

namespace troupe {

/// A network card as the expanded devices and the volatile keys describe it.
struct nic_facts {
  std::string device, network, bridge, host_name, name, hwaddr, ipv4, ipv6;
  uint32_t mtu = 0;
  bool managed = false; // on one of our networks: gets a DHCP host entry
  nic_kind kind = nic_kind::bridged;
  config_map config = {};
};
std::vector<nic_facts> nics_of(const expansion& effective);

/// The same card as the driver, the kernel's links and the firewall see it.
nic_plan plan_of(const nic_facts& nic);
/// `table`: the name of the instance's firewall tables, which no other instance has.
nic_link link_of(const nic_facts& nic, const std::string& table);
nic_rules rules_of(const nic_facts& nic);

/// Gives every nic without one a MAC and a host-side name, as volatile keys; drops those of devices that are gone.
/// Gives the instance the id by which cloud-init knows it: another one after each change of what cloud-init is told, so
/// that it runs anew. `own_config` has a "volatile.uuid".
void settle_volatile(const std::string& name, config_map& own_config, const expansion& effective);

} // namespace troupe
