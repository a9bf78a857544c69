#pragma once

#include "backends/instance/instance_driver.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// Which id of the host each id of an instance is, as the kernel's uid_map and gid_map have it: lines "inside host
/// count". Empty: they are the same (a privileged instance).
struct id_maps {
  std::string uids, gids;
};

/// A range, with the exceptions of "raw.idmap" ("both 1000 1000", "uid 50-60 500-510": the host's ids first) cut out of
/// it.
outcome<id_maps> maps_of(const id_range& ids, std::string_view exceptions);
/// The exceptions alone: are they well-formed?
outcome<void> check_id_exceptions(std::string_view exceptions);

/// The host's id for one inside; the same id where nothing is mapped at all.
uint32_t host_id(const std::string& map, uint32_t inside);

} // namespace troupe
