#pragma once

#include "backends/storage/storage_driver.hpp"
#include "messages/unique_fd.hpp"

namespace troupe {

/// The directory of a volume as its instance sees it, to read from: for an overlay the merged view, mounted nowhere,
/// which goes with the descriptor. Of an instance that runs, what is written meanwhile may or may not be seen.
outcome<unique_fd> open_volume_tree(const root_mount& root);
/// The same for who gives it a place to be mounted on: for an overlay the mount (O_PATH), which goes with the
/// descriptor unless it has one by then. Not of a virtual machine (`unsupported`), whose disk would be read half
/// written.
outcome<unique_fd> open_volume_mount(const root_mount& root);

/// Copies a volume from one pool to another. What exists in `to` already stays; a crash leaves nothing that is visible.
outcome<void> copy_between(storage_driver& from, const volume_id& source, storage_driver& to, const volume_id& target);

} // namespace troupe
