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

/// Says of each entry of a tarball where it goes.
class entry_judge {
public:
  struct verdict {
    placement at;
    tree_sink* to;
  };
  virtual ~entry_judge() = default;
  /// nullopt: it is left out. An error refuses all.
  virtual outcome<std::optional<verdict>> judge(const archive_entry_facts& entry) = 0;
  /// Nothing of what may follow is wanted.
  virtual bool satisfied() const { return false; }
};

/// Of an image: rules first, then sink.
class image_judge final : public entry_judge {
public:
  image_judge(archive_form form, unpack_rules& rules, tree_sink& sink) : form_{form}, rules_{rules}, sink_{sink} {}
  outcome<std::optional<verdict>> judge(const archive_entry_facts& entry) override;

private:
  archive_form form_;
  unpack_rules& rules_;
  tree_sink& sink_;
};

/// Both walk an archive entry by entry.
outcome<void> walk_tar(const archive_file& from, entry_judge& judge, report& to);
outcome<void> walk_squashfs(const archive_file& from, unpack_rules& rules, tree_sink& sink, report& to);

} // namespace troupe::unpack
