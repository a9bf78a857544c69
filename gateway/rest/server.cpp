#include "actors/oidc_settings.hpp"
#include "actors/profiles.hpp"
#include "actors/server_keys.hpp"
#include "gateway/rest/access_entitlements.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/server_facts.hpp"
#include "gateway/tls_listeners.hpp"

#include <nlohmann/json.hpp>

namespace troupe {
namespace {

// The server object is asked for by every client at every connection: it is made once per configuration.
struct cached_server {
  std::shared_ptr<const std::string> whole; // the sync answer
  config_map config;
  announcement announced;
  std::string etag;
};

cached_server make_server(const services& with, config_map config, announcement announced) {
  auto metadata = server_json(with, config, announced);
  std::string body =
      R"({"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":)";
  body += metadata;
  body += "}\n";
  auto etag = etag_of(nlohmann::json(config).dump());
  return {std::make_shared<const std::string>(std::move(body)), std::move(config), std::move(announced),
          std::move(etag)};
}

void change_config(const rest_request& from, bool patch) {
  auto json = json_body(from);
  if (!json) return reply_error(from, json.error());
  if (!json->is_object() || !json->contains("config") || !(*json)["config"].is_object())
    return reply_error(from, {fault::invalid, "Field \"config\" must be an object"});
  change_server_config request{from.head, {}, patch, from.etag()};
  if (auto etag = from.etag();
      !etag.empty() && etag != etag_of(nlohmann::json(shown_server_config(from.with().db.read())).dump()))
    return reply_error(from,
                       {fault::precondition, "The configuration was changed in the meantime (ETag does not match)"});
  for (auto& [key, value] : (*json)["config"].items()) {
    if (value.is_structured())
      return reply_error(from, {fault::invalid, "Field \"config." + key + "\" must be a string"});
    request.config[key] = value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
  }
  ask_sync(from, role::server, "", request);
}

} // namespace

void get_root(const rest_request& from) { reply_sync(from, R"(["/1.0"])"); }

void get_server(const rest_request& from) {
  auto level = from.head->who.level;
  if (level == trust::none || level == trust::metrics)
    return reply_sync(from, untrusted_server_json(oidc_settings_of(from.with().db.read()).on()));
  static thread_local cached_server caches[2];
  bool whole = from.head->who.may("can_edit", the_server()); // its configuration, too
  auto& cache = caches[whole];
  auto config = whole ? shown_server_config(from.with().db.read()) : config_map{};
  auto announced = announced_by(from.context.listeners, from.with().db.read());
  if (!cache.whole || cache.config != config || cache.announced != announced)
    cache = make_server(from.with(), std::move(config), std::move(announced));
  if (asks_for_entitlements(from)) // the one answer that is not the same for all
    return reply_sync(from, server_json(from.with(), cache.config, cache.announced), cache.etag);
  http_response out;
  out.headers = {{"Content-Type", "application/json"}, {"ETag", '"' + cache.etag + '"'}};
  out.body.emplace_back(cache.whole);
  from.answer.send(std::move(out));
}

void put_server(const rest_request& from) { change_config(from, false); }
void patch_server(const rest_request& from) { change_config(from, true); }

void get_resources(const rest_request& from) {
  reply_from_blocking_thread(from, []() -> outcome<std::string> { return resources_json(); });
}

// Collections that have no members yet, so that clients which list them see that.

} // namespace troupe
