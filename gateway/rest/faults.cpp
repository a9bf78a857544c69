#include "actors/saga.hpp"
#include "gateway/rest/routes.hpp"

#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using nlohmann::json;

// In a daemon without fault tests this is a path like any other that does not exist.
fault_points* points_of(const rest_request& from) {
  auto* points = from.with().faults;
  if (!points) reply_error(from, {fault::not_found, "not found"});
  return points;
}

json all_moments() {
  auto out = json::array();
  for (auto& each : moments())
    out.push_back({{"name", each.name}, {"of_step", each.of_step}, {"of_undo", each.of_undo}});
  return out;
}

outcome<void> act(fault_points& points, const json& wanted) {
  if (wanted.contains("kill"))
    return points.kill_actor(wanted["kill"].value("kind", ""), wanted["kill"].value("name", ""));
  if (wanted.contains("arm") && wanted["arm"].is_string()) return points.arm(wanted["arm"].get<std::string>());
  return fail(fault::invalid, "Either \"arm\" or \"kill\" is wanted");
}

} // namespace

// What can be made to fail: all sagas and the moments of their lives, and the actors that live now.
void get_faults(const rest_request& from) {
  auto* points = points_of(from);
  if (!points) return;
  auto actors = json::array();
  for (auto& each : points->actors()) actors.push_back({{"kind", each.kind}, {"name", each.name}});
  std::vector<std::string> sagas{saga_kinds().begin(), saga_kinds().end()};
  reply_sync(from, json{{"sagas", sagas}, {"moments", all_moments()}, {"actors", actors}}.dump());
}

void post_faults(const rest_request& from) {
  auto* points = points_of(from);
  if (!points) return;
  auto body = json_body(from);
  auto done = body ? act(*points, *body) : outcome<void>{tl::unexpected{body.error()}};
  done ? reply_sync(from, "{}") : reply_error(from, done.error());
}

} // namespace troupe
