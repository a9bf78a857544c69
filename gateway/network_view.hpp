#pragma once

#include "actors/records.hpp"
#include "actors/services.hpp"

#include <string>
#include <vector>

namespace troupe {

// What the host knows of a network; both read the host, so they block.

/// Of any interface, managed or not; error not_found.
outcome<message<schema::NetworkState>> measure_network(const std::string& name);

/// Addresses given out, the network's own first; of instances, those that `who` may see.
outcome<std::vector<message<schema::NetworkLease>>>
leases_of(const services& with, const message<schema::NetworkSpec>& network, const principal& who);

} // namespace troupe
