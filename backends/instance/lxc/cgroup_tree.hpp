#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::lxc {

/// The control groups of one daemon's containers in every hierarchy of this host. liblxc starts from the group of the
/// machine's init; below that everything of a daemon is in `prefix`. Stateless and thread-safe; reads files, never
/// blocks on a container.
class cgroup_tree {
public:
  explicit cgroup_tree(std::string prefix);

  /// A file of the payload's group, e.g. ("memory", "memory.usage_in_bytes"); nullopt where there is none.
  std::optional<std::string> read(const std::string& key, std::string_view controller, const char* file) const;
  bool write(const std::string& key, std::string_view controller, const char* file, std::string_view value) const;
  /// Path of the payload's group in the hierarchy with that controller ("" is the unified one); empty when not mounted.
  std::string path(const std::string& key, std::string_view controller) const;

  bool frozen(const std::string& key) const;
  /// Removes the groups of a container that is gone; one that still has processes stays.
  void remove(const std::string& key) const;
  /// Removes the daemon's own groups when no container is left.
  void remove_all() const;

private:
  struct hierarchy {
    std::string controllers; // ",cpu,cpuacct,", empty for the unified one
    std::string base;        // directory on the host
  };
  std::string prefix_;
  std::vector<hierarchy> hierarchies_;
};

} // namespace troupe::lxc
