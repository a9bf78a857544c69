#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <iostream>
#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

namespace {

std::string path_of(const invocation& call) {
  return "/1.0/instances/" + url_encode(call.text("INSTANCE")) +
         "/retention?project=" + url_encode(call.text("--project"));
}

std::vector<std::string> cells_of(const json& one) {
  std::string tiers;
  for (auto& tier : one["kept_by"]) tiers += (tiers.empty() ? "" : " ") + tier.get<std::string>();
  return {one.value("name", ""), one.value("created_at", ""), tiers.empty() ? "(goes)" : tiers};
}

} // namespace

outcome<void> run_retention_show(const invocation& call) {
  auto path = path_of(call);
  for (std::string tier : {"hourly", "daily", "weekly", "monthly"})
    if (auto count = call.text("--keep-" + tier); !count.empty()) path += "&keep-" + tier + "=" + url_encode(count);
  auto all = server{call.dir}.get(path);
  if (!all) return tl::unexpected{all.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& one : *all) rows.push_back(cells_of(one));
  std::cout << to_table({"SNAPSHOT", "CREATED AT", "KEPT BY"}, rows);
  return {};
}

outcome<void> run_retention_apply(const invocation& call) {
  auto done = server{call.dir}.change("POST", path_of(call), nullptr);
  if (!done) return tl::unexpected{done.error()};
  return {};
}

} // namespace troupe
