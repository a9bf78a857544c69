#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace troupe::lxc {

/// The groups of one process: in each mounted hierarchy its controllers (",cpu,cpuacct,", empty for the unified one)
/// and the group's directory on the host.
struct cgroup_place {
  std::string controllers, directory;
};
std::vector<cgroup_place> read_cgroups(const std::string& process); // "self", "1"

/// Moves this process into those groups, as far as they exist.
void enter_cgroups(const std::vector<cgroup_place>& places);

/// An instance's groups: those of its processes, or its monitor's too.
enum class group_part : uint8_t { payload, all };

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
  /// The v1 freezer keeps even a killed task; in cgroup v2 a frozen one dies at once.
  void thaw(const std::string& key) const;
  /// Those in its groups and in groups below them.
  std::vector<pid_t> processes(const std::string& key, group_part part) const;
  /// Moves them to this process's own groups.
  static void put_aside(const std::vector<pid_t>& processes);
  /// Removes the groups of a container that is gone; one that still has processes stays.
  void remove(const std::string& key) const;
  /// Removes the daemon's own groups when no container is left.
  void remove_all() const;

private:
  std::string prefix_;
  std::vector<cgroup_place> hierarchies_; // where liblxc starts
};

} // namespace troupe::lxc
