#pragma once

#include "cli/image/recipe.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe {

class tar_file;

/// Laid over the root file system when the packages are in; `target` set: a symbolic link.
struct overlay_entry {
  const char* name;
  const char* content;
  const char* target = nullptr;
  int mode = 0644;
};

/// Midnight today, UTC: builds of one day from one state of the mirror are equal.
int64_t debian_serial();

/// Fetches and unpacks the system into `target`: a tarball by its name, else a folder. `packages`: beside those of
/// every Debian image, with commas between them. `more`: beside what is laid over every one.
outcome<void> bootstrap_debian(const kitchen& in, int64_t made, const std::string& target, const std::string& packages,
                               std::span<const overlay_entry> more);

/// metadata.yaml and, of containers, templates.
outcome<void> write_debian_metadata(const std::string& path, int64_t made, bool machine);

} // namespace troupe
