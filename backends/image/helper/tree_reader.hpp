#pragma once

#include "backends/image/helper/report.hpp"
#include "backends/image/helper/tar_writer.hpp"
#include "backends/image/unpack_rules.hpp"
#include "messages/unique_fd.hpp"

#include <map>
#include <set>

namespace troupe::unpack {

/// Packs what a volume holds: metadata.yaml, templates/ and rootfs/. What the rules would not let be unpacked again is
/// refused here already. Links are never followed, mounts never entered; sockets are left out, of extended attributes
/// all but the container's own.
class tree_reader {
public:
  /// `prefix`: before each name, "" or "backup/container". `taken`: names that are in the archive already.
  tree_reader(unique_fd root, std::string prefix, unpack_limits limits, const std::set<std::string>& taken,
              tar_writer& to, report& told)
      : root_{std::move(root)}, prefix_{std::move(prefix)}, rules_{limits, "volume"}, taken_{taken}, to_{to},
        told_{told} {}
  outcome<void> run();

private:
  struct node {
    int parent;
    const char* name;
    std::string path; // in the tree: "rootfs/etc"
  };
  outcome<void> take(const node& n);
  outcome<void> directory(const node& n, packed_entry entry);
  outcome<void> children(const unique_fd& of, const std::string& path);
  outcome<void> file(const node& n, packed_entry entry);
  outcome<void> symlink(const node& n, packed_entry entry);
  outcome<bool> admits(const node& n, const packed_entry& entry);
  std::string in_archive(const std::string& path) const { return prefix_.empty() ? path : prefix_ + '/' + path; }

  unique_fd root_;
  std::string prefix_;
  unpack_rules rules_;
  const std::set<std::string>& taken_;
  tar_writer& to_;
  report& told_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_; // several names, one file -> the first name
};

} // namespace troupe::unpack
