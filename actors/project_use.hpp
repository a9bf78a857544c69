#pragma once

#include "actors/records.hpp"
#include "messages/error.hpp"

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace troupe {

/// What instances take of their project's limits. Disk and memory in bytes, the rest are counts.
struct project_use {
  uint64_t instances = 0, containers = 0, virtual_machines = 0, cpu = 0, disk = 0, memory = 0, processes = 0;
  std::map<std::string, uint64_t, std::less<>> pools; // of the disk, what lies on each

  project_use& operator+=(const project_use& other);
  /// Of each the larger: while a change is on its way, either may turn out to hold.
  friend project_use larger(const project_use& a, const project_use& b);
  bool operator==(const project_use&) const = default;
};

/// Whether the project has any limit at all.
bool is_limited(const config_map& project_config);

/// What one instance takes. fault::invalid: a limit of the project can only be kept if each instance has that key too.
outcome<project_use> use_of(std::string_view project, const config_map& project_config, schema::InstanceType type,
                            const expansion& effective);

/// The disk limits that a size on this pool counts for need one. fault::invalid: there is such a limit, and no size.
outcome<void> check_sized(std::string_view project, const config_map& project_config, std::string_view pool,
                          std::string_view size, const std::string& what);

/// The same of an instance that is there: what has no countable value counts as nothing.
project_use countable_use(schema::InstanceType type, const expansion& effective);

/// The sum over the project's instances and custom volumes, without those that `leave_out(name)` wants left out; a
/// volume's name is "@POOL/NAME".
project_use use_of_project(const snapshot& from, std::string_view project,
                           const std::function<bool(std::string_view)>& leave_out);

/// fault::forbidden if a sum is over its limit; the sentence names the key.
outcome<void> check_limits(std::string_view project, const config_map& project_config, const project_use& sum);

/// Each limit's name without "limits.", its value (-1: none) and what of it is used. For GET /1.0/projects/NAME/state.
struct limit_state {
  std::string_view name;
  int64_t limit = -1;
  uint64_t usage = 0;
};
std::vector<limit_state> limit_states(const config_map& project_config, const project_use& sum);

// ---- what is in a project, and the rules it was let in by
//
// Who adds to a project judges by its rules (its config, the profiles it uses), who changes the rules judges what is in
// it. Each leaves a mark and commits only if the other's mark is what it was when it judged; so neither can slip
// through behind the other, and those who add do not hinder each other.

/// For a commit that adds to the project, judged on this snapshot.
void enter_project(batch& commit, const snapshot& judged_on, std::string_view project);
/// For a commit that adds what no rule is about: only the project must stay as it is.
void keep_project(batch& commit, const snapshot& judged_on, std::string_view project);
/// For a commit that changes the rules of every project that has its profiles in `home` (and of `home` itself).
batch changed_rules(const snapshot& judged_on, std::string_view home);

/// The projects that use the profiles of `home`.
std::vector<std::string> projects_with_profiles_of(const snapshot& from, std::string_view home);

} // namespace troupe
