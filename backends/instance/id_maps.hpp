#pragma once

#include "backends/instance/instance_driver.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

/// Whether an id of the host that `exceptions` maps is outside of these ranges of users and groups ("1000,2000-2010").
bool leaves_ranges(std::string_view exceptions, std::string_view users, std::string_view groups);
/// Such a list; nullopt: it is none. First and count of each.
std::optional<std::vector<std::pair<uint64_t, uint64_t>>> parse_id_ranges(std::string_view list);

/// The host's id for one inside; the same id where nothing is mapped at all.
uint32_t host_id(const std::string& map, uint32_t inside);

} // namespace troupe
