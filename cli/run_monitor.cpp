#include "cli/event_line.hpp"
#include "cli/event_stream.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <iostream>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

std::string target_of(const invocation& call) {
  std::string target = "/1.0/events";
  auto add = [&](const char* name, const std::string& value) {
    if (value.empty()) return;
    target += target.find('?') == std::string::npos ? '?' : '&';
    target += std::string{name} + '=' + url_encode(value);
  };
  add("type", call.text("--type"));
  add("filter", call.text("--filter"));
  add("since", call.text("--since"));
  add("snapshot", call.flag("--snapshot") ? "1" : "");
  return target;
}

} // namespace

outcome<void> run_monitor(const invocation& call) {
  auto& format = call.text("--format");
  if (format != "json" && format != "pretty") return fail(fault::invalid, "--format must be json or pretty");
  server daemon{call.dir};
  return read_messages(daemon.http(), target_of(call), [pretty = format == "pretty"](const std::string& event) {
    auto parsed = pretty ? nlohmann::json::parse(event, nullptr, false) : nlohmann::json{};
    // Each at once: somebody may wait at the other end of a pipe.
    std::cout << (parsed.is_object() ? event_line(parsed) : event) << std::endl;
    return static_cast<bool>(std::cout);
  });
}

} // namespace troupe
