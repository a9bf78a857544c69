#pragma once

#include "cli/image/recipe.hpp"

#include <span>
#include <utility>

namespace troupe {

/// Makes the file system that UEFI firmware boots from, with secure boot on: FAT of so many KiB in the new file `path`,
/// with Debian's signed loaders from `packages` (a tree in which they are unpacked), `config` for GRUB and `files`:
/// pairs of a path on this machine and a name in the file system ("::/vmlinuz").
outcome<void> make_boot_disk(const kitchen& in, const std::string& path, unsigned kib, const std::string& packages,
                             std::string_view config, std::span<const std::pair<std::string, std::string>> files);

} // namespace troupe
