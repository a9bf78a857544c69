#include "actors/network_limit.hpp"

#include "actors/project_keys.hpp"
#include "runtime/uuid.hpp"

#include <charconv>

namespace troupe {
namespace {

constexpr std::string_view key = "limits.networks";

std::string mark_of(std::string_view project) { return "networks/" + std::string{project}; }

error reached(std::string_view project, int64_t limit) {
  return {fault::forbidden, "Reached the limit of project \"" + std::string{project} + "\": " + std::string{key} +
                                " is " + std::to_string(limit)};
}

} // namespace

limit_state network_limit(const snapshot& records, std::string_view project, const config_map& project_config) {
  limit_state out{key.substr(key.find('.') + 1)};
  auto value = get(project_config, key);
  int64_t limit = -1;
  if (std::from_chars(value.data(), value.data() + value.size(), limit).ec == std::errc{}) out.limit = limit;
  records.scan(table::networks, std::string{project} + '/', [&](std::string_view, std::string_view) {
    ++out.usage;
    return true;
  });
  return out;
}

outcome<void> check_network_limit(const snapshot& records, std::string_view project, const config_map& project_config) {
  auto now = network_limit(records, project, project_config);
  bool own = project == "default" || is_true(project_value_of(project_config, "features.networks"));
  if (now.limit >= 0 && !own)
    return fail(fault::invalid, "The project has no networks of its own: \"" + std::string{key} +
                                    "\" can only be set for the project whose networks it uses");
  if (now.limit >= 0 && now.usage > static_cast<uint64_t>(now.limit))
    return tl::unexpected{reached(project, now.limit)};
  return {};
}

outcome<batch> admit_network(const snapshot& now, std::string_view project) {
  batch out;
  enter_project(out, now, project);
  auto state = network_limit(now, project, project_config(now, project));
  if (state.limit < 0) return out;
  if (state.usage >= static_cast<uint64_t>(state.limit)) return tl::unexpected{reached(project, state.limit)};
  out.conditions.push_back(unchanged(now, table::counters, mark_of(project)));
  out.writes.push_back({table::counters, mark_of(project), make_uuid_v4()});
  return out;
}

} // namespace troupe
