#pragma once

#include "actors/records.hpp"
#include "actors/services.hpp"

#include <string>
#include <vector>

namespace troupe {

// What the host knows of a network; both read the host, so they block.

/// Of any interface, managed or not; error not_found. Ports of a bridge: those that `who` may know of.
outcome<message<schema::NetworkState>> measure_network(const services& with, const std::string& name,
                                                       const principal& who);

/// Addresses given out, the network's own first; of instances, those that `who` may see.
outcome<std::vector<message<schema::NetworkLease>>>
leases_of(const services& with, const message<schema::NetworkSpec>& network, const principal& who);

} // namespace troupe
