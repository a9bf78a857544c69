#include "gateway/rest/request.hpp"

#include "actors/lifecycle_event.hpp"
#include "actors/operation_view.hpp"
#include "gateway/rest/access_entitlements.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

http_response json_response(int status, std::string body) {
  http_response out;
  out.status = status;
  out.headers.emplace_back("Content-Type", "application/json");
  out.body.emplace_back(std::move(body));
  return out;
}

constexpr std::string_view sync_begin =
    R"({"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":)";
constexpr std::string_view sync_end = "}\n";

std::string sync_envelope(std::string_view metadata) {
  std::string out{sync_begin};
  out += metadata;
  out += sync_end;
  return out;
}

// The part of an operation's JSON before its metadata's end: where secrets are put in.
std::string with_secrets(std::string operation, const std::string& secrets) {
  if (secrets.empty()) return operation;
  auto json = nlohmann::json::parse(operation);
  auto more = nlohmann::json::parse(secrets);
  if (!json["metadata"].is_object()) json["metadata"] = nlohmann::json::object();
  json["metadata"].update(more);
  return json.dump();
}

} // namespace

int rest_request::recursion() const {
  auto value = http->parameter("recursion");
  return value == "1" ? 1 : value == "2" ? 2 : 0;
}

std::string rest_request::etag() const {
  auto value = http->header("If-Match");
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  return std::string{value};
}

http_response error_response(const error& why) {
  auto status = to_http(why.code);
  std::string out = R"({"type":"error","status":"","status_code":0,"operation":"","error_code":)" +
                    std::to_string(status) + R"(,"error":)";
  write_json_string(out, why.message);
  out += ",\"metadata\":null}\n";
  auto response = json_response(status, std::move(out));
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  return response;
}

void reply_error(const rest_request& to, const error& why) {
  if (to_http(why.code) == 500) log().warn("{} {}: {}", to.http->method, to.http->path, why.message);
  to.answer.send(error_response(why));
}

void reply_sync(const rest_request& to, std::string_view metadata, const std::string& etag) {
  std::string more;
  if (asks_for_entitlements(to)) {
    auto made = with_entitlements(to, metadata);
    if (!made) return reply_error(to, made.error());
    metadata = more = std::move(*made);
  }
  auto response = json_response(200, sync_envelope(metadata));
  if (!etag.empty()) response.headers.emplace_back("ETag", '"' + etag + '"');
  to.answer.send(std::move(response));
}

void reply_created(const rest_request& to, const std::string& location) {
  auto response = json_response(201, sync_envelope("{}"));
  response.headers.emplace_back("Location", location);
  to.answer.send(std::move(response));
}

void reply_operation(const rest_request& to, const operation_record& record, const std::string& secrets) {
  auto url = "/1.0/operations/" + id_of(record);
  std::string out = R"({"type":"async","status":"Operation created","status_code":100,"operation":")" + url +
                    R"(","error_code":0,"error":"","metadata":)";
  out += with_secrets(operation_json(record), secrets);
  out += "}\n";
  auto response = json_response(202, std::move(out));
  response.headers.emplace_back("Location", url);
  to.answer.send(std::move(response));
}

void reply_plan(const rest_request& to, const outcome<operation_record>& forecast) {
  reply_sync(to, to_json(forecast ? plan_of(*forecast) : plan_of(forecast.error())));
}

void ask_operation(const rest_request& from, role whom, caf::message request,
                   std::function<void(const outcome<operation_record>&)> then) {
  auto send = [from, whom, request = std::move(request)](std::function<void(const outcome<operation_record>&)> take) {
    ask_untyped(role::rest_door, from.with(), whom, request, into_outcome<operation_record>(std::move(take)));
  };
  if (from.head->plan) return send([from](const outcome<operation_record>& record) { reply_plan(from, record); });
  if (from.head->request_id.empty()) return send(std::move(then));
  auto go_on = [send, then = std::move(then)](const outcome<claim_answer>& claim) {
    if (!claim) return then(tl::unexpected{claim.error()});
    if (claim->same) return then(*claim->same);
    send([then, hold = claim->hold](const outcome<operation_record>& record) { then(record); });
  };
  ask<claim_answer>(from, role::operations, std::move(go_on), claim_request{from.head});
}

void reply_begun(const rest_request& to, const outcome<operation_record>& record) {
  record ? reply_operation(to, *record) : reply_error(to, record.error());
}

void reply_at_end(const rest_request& to, const outcome<operation_record>& record, const std::string& location) {
  if (!record) return reply_error(to, record.error());
  ask<operation_record>(
      to, role::operations,
      [to, location](const outcome<operation_record>& ended) {
        if (!ended) return reply_error(to, ended.error());
        ended->read([&](schema::Operation::Reader op) {
          if (op.getState() != schema::Operation::State::SUCCEEDED)
            reply_error(to, {static_cast<fault>(op.getError().getCode()), text(op.getErr())});
          else if (location.empty())
            reply_sync(to, "{}");
          else
            reply_created(to, location);
        });
      },
      await_operation{id_of(*record)});
}

void reply_from_blocking_thread(const rest_request& to, std::function<outcome<std::string>()> work) {
  bool taken = to.with().blocking.submit([to, work = std::move(work)] {
    auto result = work();
    if (result && asks_for_entitlements(to)) result = with_entitlements(to, *result);
    if (!result) return reply_error(to, result.error());
    auto response = json_response(200, std::string{sync_begin});
    response.body.emplace_back(std::move(*result)); // may be large: not copied
    response.body.emplace_back(std::string{sync_end});
    to.answer.send(std::move(response));
  });
  if (!taken) reply_error(to, {fault::busy, "The server has too much to do right now; try again"});
}

outcome<nlohmann::json> json_body(const rest_request& from) {
  if (from.http->body.empty()) return nlohmann::json::object();
  return parse_json_text(from.http->body);
}

outcome<std::vector<std::string>> given_fields(const rest_request& from) {
  auto json = json_body(from);
  if (!json) return tl::unexpected{json.error()};
  if (!json->is_object()) return fail(fault::invalid, "The request body must be a JSON object");
  std::vector<std::string> out;
  for (auto& [key, value] : json->items()) {
    auto lower = key;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    if (!value.is_null()) out.push_back(lower);
  }
  return out;
}

} // namespace troupe
