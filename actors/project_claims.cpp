#include "actors/project_claims.hpp"

#include "actors/project_keys.hpp"

namespace troupe {

outcome<void> project_claims::grant(const snapshot& records, const std::string& project, const std::string& name,
                                    const project_use& most) {
  auto& claims = claims_[project];
  auto sum =
      use_of_project(records, project, [&](std::string_view there) { return there == name || claims.contains(there); });
  for (auto& [other, use] : claims)
    if (other != name) sum += use;
  sum += most;
  if (auto good = check_limits(project, project_config(records, project), sum); !good) return good;
  claims.insert_or_assign(name, most);
  return {};
}

void project_claims::release(const std::string& project, const std::string& name) {
  auto at = claims_.find(project);
  if (at == claims_.end()) return;
  at->second.erase(name);
  if (at->second.empty()) claims_.erase(at);
}

} // namespace troupe
