#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>

namespace troupe {

/// Writes the stream of a read-only subvolume into the empty file `into`; with a `parent`, what it has besides that.
/// fault::unsupported where a guest has made subvolumes inside: a stream holds one only.
outcome<void> send_subvolume(const std::string& path, const std::string& parent, const unique_fd& into);

/// Its UUID, as btrfs-progs write it.
outcome<std::string> subvolume_uuid(const std::string& path);

} // namespace troupe
