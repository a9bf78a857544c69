#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string>

namespace troupe {

// Work on whole trees that a hostile guest may have made: no link is ever followed, no mount is entered, and file
// descriptors and stack stay bounded whatever the depth.

/// Removes `name` below the directory `parent`, whatever it is: read-only subvolumes and immutable files too.
/// Nothing there is success; so is somebody else removing the same tree at the same time.
outcome<void> remove_tree(int parent, const std::string& name);

/// Copies the directory `source` to the path `target`, where nothing or an empty directory is; their parents are ours,
/// not a guest's. Keeps owner, mode, times, extended attributes, hard links, holes and device nodes; shares extents
/// where the file system can. What is written in place stays so, and a root.img in `source` becomes so. What is mounted
/// inside is left out. `too_large` where the tree is deeper than 256 directories.
outcome<void> copy_tree(const std::string& source, const std::string& target);

/// Bytes on disk of everything below `directory`, hard links counted once. What is deeper than 256 directories is not.
outcome<uint64_t> tree_usage(int directory);

/// Opens the directory `name` itself, never a link and never what is mounted on it; errno on -1.
int open_below(int parent, const char* name, int flags);

} // namespace troupe
