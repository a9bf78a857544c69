#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <cctype>
#include <iostream>
#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

outcome<void> run_query(const invocation& call) {
  http_call request{.method = call.text("--request"), .target = call.text("PATH")};
  if (!request.target.starts_with('/')) return fail(fault::invalid, "The path must start with /");
  for (auto& letter : request.method) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  for (auto* text : {&request.method, &request.target})
    for (unsigned char c : *text)
      if (c <= ' ' || c == 0x7f)
        return fail(fault::invalid, "Blanks and control characters must be percent-encoded in a path");
  if (auto& data = call.text("--data"); !data.empty()) {
    if (!json::accept(data)) return fail(fault::invalid, "The data is not JSON");
    request.headers.emplace_back("Content-Type", "application/json");
    request.body.emplace_back(data);
  }
  server daemon{call.dir};
  auto reply = daemon.http().send(request);
  if (!reply) return tl::unexpected{reply.error()};
  auto envelope = json::parse(reply->body, nullptr, false);
  bool enveloped = envelope.is_object() && envelope.contains("type") && envelope.contains("metadata");
  if (!enveloped || call.flag("--raw")) {
    std::cout << reply->body;
    if (reply->status >= 400)
      return fail(fault_of_status(reply->status), "The server answered with status " + std::to_string(reply->status));
    return {};
  }
  if (envelope.value("type", "") == "error") return fail(fault_of_status(reply->status), envelope.value("error", ""));
  auto shown = std::move(envelope["metadata"]);
  if (call.flag("--wait") && envelope.value("type", "") == "async") {
    auto done = daemon.finish(envelope);
    if (!done) return tl::unexpected{done.error()};
    shown = std::move(*done);
  }
  std::cout << shown.dump(2) << '\n';
  return {};
}

} // namespace troupe
