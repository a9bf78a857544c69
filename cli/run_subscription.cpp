#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <iostream>
#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

namespace {

std::string path_of(const invocation& call) { return "/1.0/events/subscriptions/" + url_encode(call.text("NAME")); }

std::vector<std::string> cells_of(const json& one) {
  std::string subjects;
  for (auto& subject : one["filter"]["subjects"])
    subjects += (subjects.empty() ? "" : " ") + subject.get<std::string>();
  return {one.value("name", ""),
          subjects.empty() ? ">" : subjects,
          one.value("acknowledged", ""),
          std::to_string(one.value("lag", uint64_t{0})),
          one.value("connected", false) ? "YES" : "NO",
          one.value("owner", "")};
}

} // namespace

outcome<void> run_subscription_list(const invocation& call) {
  auto all = server{call.dir}.get("/1.0/events/subscriptions?recursion=1");
  if (!all) return tl::unexpected{all.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& one : *all) rows.push_back(cells_of(one));
  std::cout << to_table({"NAME", "SUBJECTS", "ACKNOWLEDGED", "LAG", "CONNECTED", "OWNER"}, rows);
  return {};
}

outcome<void> run_subscription_show(const invocation& call) {
  auto one = server{call.dir}.get(path_of(call));
  if (!one) return tl::unexpected{one.error()};
  std::cout << to_yaml(*one);
  return {};
}

outcome<void> run_subscription_delete(const invocation& call) {
  auto done = server{call.dir}.change("DELETE", path_of(call), nullptr);
  if (!done) return tl::unexpected{done.error()};
  return {};
}

} // namespace troupe
