#pragma once

#include "messages/error.hpp"
#include "net/cidr.hpp"

#include <vector>

namespace troupe {

/// All subnets this host has an address in or a route to (default routes left out), in the thread's network namespace.
outcome<std::vector<cidr>> host_subnets();

/// A random 10.x.y.1/24 or fd42:x:x:x::1/64 that overlaps none of `used`.
outcome<cidr> pick_free_subnet(int family, const std::vector<cidr>& used);

} // namespace troupe
