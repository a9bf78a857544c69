#include "cli/event_line.hpp"
#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <iostream>
#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

namespace {

std::vector<std::string> cells_of(const json& event) {
  auto metadata = event.value("metadata", json::object());
  std::string context, who;
  if (metadata.contains("context") && metadata["context"].is_object())
    for (auto& [key, value] : metadata["context"].items())
      context +=
          (context.empty() ? "" : " ") + key + "=" + (value.is_string() ? value.get<std::string>() : value.dump());
  if (metadata.contains("requestor")) who = metadata["requestor"].value("username", "");
  return {event.value("timestamp", "").substr(0, 23), event_headline(event), context, who, event.value("cursor", "")};
}

} // namespace

outcome<void> run_history(const invocation& call) {
  auto& format = call.text("--format");
  if (format != "table" && format != "json") return fail(fault::invalid, "--format must be table or json");
  auto entity = call.text("ENTITY");
  if (entity.find('/') == std::string::npos) entity = "instance/default/" + entity;
  auto events = server{call.dir}.get("/1.0/events/history?entity=" + url_encode(entity) +
                                     "&limit=" + url_encode(call.text("--limit")));
  if (!events) return tl::unexpected{events.error()};
  if (format == "json") {
    for (auto& event : *events) std::cout << event.dump() << '\n';
    return {};
  }
  std::vector<std::vector<std::string>> rows;
  for (auto& event : *events) rows.push_back(cells_of(event));
  std::cout << to_table({"TIME", "EVENT", "CONTEXT", "BY", "CURSOR"}, rows);
  return {};
}

} // namespace troupe
