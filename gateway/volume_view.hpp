#pragma once

#include "actors/volumes.hpp"

#include <functional>
#include <string>

namespace troupe {

/// Calls `visit` for every volume of a pool that this project sees; `type` empty: of all types, each with its
/// snapshots behind it ("data/snap0"). The root volumes are the instances' own records; the images' are the pool's.
/// `users`: the URLs of what uses it.
using volume_visitor = std::function<void(const volume_record&, const std::vector<std::string>& users)>;
void each_volume(const snapshot& records, const std::string& pool, const std::string& project, std::string_view type,
                 const volume_visitor& visit);

/// The driver's name of a volume.
volume_id volume_of(const snapshot& records, const std::string& project, const std::string& type,
                    const std::string& name);

// These read the host: they block.
outcome<message<schema::PoolResources>> measure_pool(storage_driver& driver);
outcome<message<schema::VolumeState>> measure_volume(storage_driver& driver, const volume_id& id);

} // namespace troupe
