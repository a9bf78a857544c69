#pragma once

#include "backends/image/helper/report.hpp"
#include "backends/image/helper/tree_sink.hpp"
#include "backends/image/unpack_rules.hpp"

#include <cstdint>

namespace troupe::unpack {

/// One archive file of an image: read by position only, the descriptor's offset belongs to others.
struct archive_file {
  int fd = -1;
  uint64_t size = 0;
  uint64_t base = 0; // where it starts in the sum of all archives, for progress
};

/// Both walk an archive entry by entry: rules first, then sink.
outcome<void> walk_tar(const archive_file& from, archive_form form, unpack_rules& rules, tree_sink& sink, report& to);
outcome<void> walk_squashfs(const archive_file& from, unpack_rules& rules, tree_sink& sink, report& to);

} // namespace troupe::unpack
