#pragma once

#include "actors/records.hpp"
#include "actors/services.hpp"
#include "net/links.hpp"

namespace troupe {

/// The cards of a running virtual machine: as its agent tells, else as its configuration and the leases of our networks
/// do.
std::vector<link_facts> links_of_machine(services& with, const std::optional<guest_report>& told,
                                         const expansion& effective);

} // namespace troupe
