#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <iostream>
#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

namespace {

std::string path_of(const invocation& call) { return "/1.0/operations/" + url_encode(call.text("ID")); }

std::string upper(std::string text) {
  for (auto& letter : text) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  return text;
}

std::vector<std::string> cells_of(const json& operation) {
  return {operation.value("id", ""),
          upper(operation.value("class", "")),
          operation.value("description", ""),
          upper(operation.value("status", "")),
          operation.value("may_cancel", false) ? "YES" : "NO",
          operation.value("created_at", "").substr(0, 19)};
}

} // namespace

outcome<void> run_operation_list(const invocation& call) {
  auto by_status = server{call.dir}.get("/1.0/operations?recursion=1");
  if (!by_status) return tl::unexpected{by_status.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& operations : *by_status)
    for (auto& operation : operations) rows.push_back(cells_of(operation));
  std::cout << to_table({"ID", "TYPE", "DESCRIPTION", "STATUS", "CANCELABLE", "CREATED"}, rows);
  return {};
}

outcome<void> run_operation_show(const invocation& call) {
  auto operation = server{call.dir}.get(path_of(call));
  if (!operation) return tl::unexpected{operation.error()};
  std::cout << to_yaml(*operation);
  return {};
}

outcome<void> run_operation_wait(const invocation& call) {
  auto operation = server{call.dir}.finish({{"operation", path_of(call)}});
  if (!operation) return tl::unexpected{operation.error()};
  std::cout << to_yaml(*operation);
  return {};
}

} // namespace troupe
