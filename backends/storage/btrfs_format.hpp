#pragma once

#include "messages/error.hpp"

#include <string>

namespace troupe {

/// The UUID of the btrfs whose complete superblock is on the device or in the file; empty if there is none.
std::string btrfs_uuid_on(const std::string& device);
/// The UUID of the btrfs mounted on `path`; empty if that is no btrfs.
std::string btrfs_uuid_at(const std::string& path);
/// Makes a btrfs by mkfs.btrfs; done already where that UUID is. `in_use` where another btrfs is. `overwrite`: anything
/// else may be there; otherwise `backend_failed` where mkfs finds something.
outcome<void> make_btrfs(const std::string& device, const std::string& uuid, const std::string& label, bool overwrite);
/// Wipes every superblock of the btrfs with that UUID, so that nothing finds a file system there again; else nothing.
outcome<void> unmake_btrfs(const std::string& device, const std::string& uuid);
/// Version of mkfs.btrfs ("6.2"); empty where kernel or tool cannot do btrfs.
std::string btrfs_version();

} // namespace troupe
