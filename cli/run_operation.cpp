#include "cli/event_stream.hpp"
#include "cli/operation_text.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

namespace {

std::string path_of(const invocation& call) { return "/1.0/operations/" + url_encode(call.text("ID")); }

std::string moment(const json& object, const char* field) {
  auto time = object.value(field, "");
  return time.starts_with("0001") ? "" : time.substr(0, 19);
}

std::vector<std::string> cells_of(const json& operation) {
  return {operation.value("id", ""), operation.value("description", ""),     operation.value("entity", ""),
          state_text(operation),     operation.value("cancel_effect", "no"), moment(operation, "created_at")};
}

// The wait ends with the operation; a failed one is a result to show here, not an error of the call.
outcome<json> ended(const server& daemon, const std::string& path) { return daemon.get(path + "/wait?recursion=1"); }

outcome<void> show(const json& operation) {
  std::cout << operation_text(operation);
  if (operation.value("status_code", 0) < 400) return {};
  return fail(fault::backend_failed, operation.value("err", "The operation failed"));
}

} // namespace

outcome<void> run_operation_list(const invocation& call) {
  std::string target = "/1.0/operations?recursion=2";
  if (call.flag("--all")) target += "&all=1";
  if (auto& entity = call.text("--entity"); !entity.empty()) target += "&entity=" + url_encode(entity);
  auto by_status = server{call.dir}.get(target);
  if (!by_status) return tl::unexpected{by_status.error()};
  std::vector<std::vector<std::string>> rows;
  for (auto& operations : *by_status)
    for (auto& operation : operations) rows.push_back(cells_of(operation));
  std::sort(rows.begin(), rows.end()); // ids are in order of time
  std::cout << to_table({"ID", "DESCRIPTION", "ENTITY", "STATE", "CANCEL", "CREATED"}, rows);
  return {};
}

outcome<void> run_operation_show(const invocation& call) {
  auto operation = server{call.dir}.get(path_of(call) + "?recursion=1");
  if (!operation) return tl::unexpected{operation.error()};
  std::cout << operation_text(*operation);
  return {};
}

outcome<void> run_operation_cancel(const invocation& call) {
  server daemon{call.dir};
  auto before = daemon.get(path_of(call) + "?recursion=1");
  if (!before) return tl::unexpected{before.error()};
  auto taken = daemon.change("DELETE", path_of(call), nullptr);
  if (!taken) return tl::unexpected{taken.error()};
  std::cout << "Cancelling: " << meaning_of_cancel(before->value("cancel_effect", "")) << std::endl;
  auto operation = ended(daemon, path_of(call));
  if (!operation) return tl::unexpected{operation.error()};
  std::cout << operation_text(*operation);
  return {};
}

outcome<void> run_operation_wait(const invocation& call) {
  auto operation = ended(server{call.dir}, path_of(call));
  if (!operation) return tl::unexpected{operation.error()};
  return show(*operation);
}

// Whatever the events tell of it is a reason to look: nothing is asked for in between.
outcome<void> run_operation_follow(const invocation& call) {
  server daemon{call.dir};
  auto operation = daemon.get(path_of(call) + "?recursion=1");
  if (!operation) return tl::unexpected{operation.error()};
  auto id = operation->value("id", "");
  auto running = [&] { return operation && operation->value("status_code", 0) < 200; };
  {
    progress line{operation->value("description", id)};
    std::string shown;
    auto look = [&] {
      operation = daemon.get(path_of(call) + "?recursion=1");
      if (!running()) return false;
      if (auto now = progress_text(*operation); !now.empty() && now != shown) line.step(shown = now);
      return true;
    };
    auto take = [&](const std::string& text) {
      auto event = json::parse(text, nullptr, false);
      return event.is_discarded() || event.value(json::json_pointer{"/metadata/id"}, "") != id || look();
    };
    if (running())
      if (auto heard = read_messages(daemon.http(), "/1.0/events?type=operation", look, take); !heard) return heard;
  }
  if (!operation) return tl::unexpected{operation.error()};
  return show(*operation);
}

} // namespace troupe
