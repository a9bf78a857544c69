#pragma once

#include <string>

namespace troupe {

/// Whether an overlay whose layers are idmapped mounts works on the file system of `scratch`: tried with real mounts in
/// a mount namespace of their own, which goes away with them. `scratch` is made, and left for the caller to remove.
/// Whoever mounts a container must do as this does: one idmapped mount of the directory that holds upper and work, and
/// the overlay mounted with the shifted root as file system user and group.
bool can_overlay_idmapped(const std::string& scratch);

} // namespace troupe
