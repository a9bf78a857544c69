#pragma once

#include "backends/image/helper/sources.hpp"

#include <deque>

namespace troupe::unpack {

/// Of a backup in LXD 5's layout: backup/index.yaml, then the trees backup/container and backup/snapshots/NAME, each of
/// which is judged like an image. One text file is kept: the index, or the description beside the container.
class backup_judge final : public entry_judge {
public:
  /// Only for the index: everything behind it stays unread.
  backup_judge();
  /// For the trees that the index has named ("container", "snapshots/NAME"); each goes to a sink of its own.
  backup_judge(std::vector<std::string> names, const std::vector<tree_sink*>& sinks, unpack_limits of_each);

  outcome<std::optional<verdict>> judge(const archive_entry_facts& entry) override;
  bool satisfied() const override { return index_only_ && text_seen_; }
  outcome<void> finish() const;
  const std::string& text() const noexcept { return text_.text(); }

private:
  struct tree {
    std::string path; // "backup/container"
    tree_sink* sink;
    unpack_rules rules;
  };
  outcome<std::optional<verdict>> take_text(std::string path, const archive_entry_facts& entry);
  outcome<std::optional<verdict>> into(tree& to, std::string_view rest, archive_entry_facts entry);
  tree* tree_of(std::string_view path);

  bool index_only_;
  unpack_rules whole_; // counts what all trees take together
  std::deque<tree> trees_;
  check_sink text_;
  std::string wanted_;
  bool text_seen_ = false, index_seen_ = false;
};

} // namespace troupe::unpack
