#pragma once

#include "actors/found_devices.hpp"
#include "actors/instance_devices.hpp"
#include "actors/instance_proxies.hpp"

namespace troupe {

using forwarders = std::map<std::string, forwarder_ptr, std::less<>>; // by device

/// How a running instance gets from what it has to what it should have.
struct host_change {
  live_instance who;
  schema::InstanceType type = schema::InstanceType::CONTAINER;
  std::vector<expansion> from; // each may be (partly) there
  expansion to;
  bool repair = false; // `to` may be partly there as well: after a crash, or half a change
  disk_places places;
  std::string root_path, table;
  forwarders running;
  std::function<void(const std::string& device)> forwarder_ended;
};

/// What a running instance has beyond its record.
struct host_now {
  forwarders running;
  device_map devices; // with the nodes that were found for them
};

/// Applies the difference; what is as it should be is not touched. Answers with all that is there afterwards. On error
/// some of it was done: change back with `repair`. Blocks.
outcome<host_now> change_host(services& with, host_change what);

/// Makes the links that a virtual machine's cards end in; they go with the descriptors in the plan.
outcome<void> make_taps(boot_plan& plan, const host_change& behind);
/// What a boot needs besides what the driver does: the firewall's part, before it ...
outcome<void> prepare_host(const expansion& effective, const std::string& table);
/// ... and the host's ends of cards and the forwarders, behind it.
outcome<forwarders> complete_host(services& with, const host_change& what);
/// Takes away what a life has left on the host beside its links.
void clear_host_of(const expansion& last, const std::string& table);
/// Their host's ends, as far as they are the instance's: they would go with its network namespace, only later.
void remove_links(const std::vector<nic_link>& links);

} // namespace troupe
