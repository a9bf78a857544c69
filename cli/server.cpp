#include "cli/server.hpp"

#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

namespace {

constexpr int status_failure = 400;

std::string text_of(const json& object, const char* key) {
  auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string{};
}

} // namespace

fault fault_of_status(int status) noexcept {
  switch (status) {
    case 400:
      return fault::invalid;
    case 403:
      return fault::forbidden;
    case 404:
      return fault::not_found;
    case 409:
      return fault::already_exists;
    case 412:
      return fault::precondition;
    case 413:
      return fault::too_large;
    case 503:
      return fault::wrong_state;
    default:
      return fault::backend_failed;
  }
}

outcome<json> server::request(const http_call& call) const {
  auto reply = http_.send(call);
  if (!reply) return tl::unexpected{reply.error()};
  auto envelope = json::parse(reply->body, nullptr, false);
  if (!envelope.is_object() || !envelope.contains("type"))
    return fail(fault_of_status(reply->status), call.method + " " + call.target + " was answered with status " +
                                                    std::to_string(reply->status) + " and no JSON envelope");
  if (text_of(envelope, "type") == "error") return fail(fault_of_status(reply->status), text_of(envelope, "error"));
  return envelope;
}

outcome<json> server::get(const std::string& target) const {
  auto envelope = request({.target = target});
  if (!envelope) return envelope;
  return std::move((*envelope)["metadata"]);
}

outcome<json> server::change(const std::string& method, const std::string& target, const json& body) const {
  http_call call{.method = method, .target = target};
  if (!body.is_null()) {
    call.headers.emplace_back("Content-Type", "application/json");
    call.body.emplace_back(body.dump());
  }
  auto envelope = request(call);
  if (!envelope) return envelope;
  if (text_of(*envelope, "type") == "async") return finish(*envelope);
  return std::move((*envelope)["metadata"]);
}

outcome<json> server::finish(const json& envelope) const {
  auto path = text_of(envelope, "operation");
  path.resize(std::min(path.size(), path.find('?')));
  auto operation = get(path + "/wait");
  if (!operation) return operation;
  if (!operation->is_object()) return fail(fault::backend_failed, "The server's operation is not a JSON object");
  auto problem = text_of(*operation, "err");
  if (operation->value("status_code", 0) >= status_failure && problem.empty())
    problem = "The operation failed: " + text_of(*operation, "status");
  if (!problem.empty()) return fail(fault_of_status(operation->value("status_code", status_failure)), problem);
  return operation;
}

} // namespace troupe
