#include "gateway/oidc/discovery.hpp"

#include <algorithm>

namespace troupe {
namespace {

using json = nlohmann::json;

std::string url_in(const json& facts, const char* name) {
  auto at = facts.find(name);
  auto out = at != facts.end() && at->is_string() ? at->get<std::string>() : std::string{};
  return out.starts_with("https://") ? out : std::string{};
}

bool takes_basic(const json& facts) {
  auto methods = facts.find("token_endpoint_auth_methods_supported");
  return methods == facts.end() || !methods->is_array() || // what is said nowhere is basic
         std::find(methods->begin(), methods->end(), "client_secret_basic") != methods->end();
}

tl::unexpected<error> no_provider(const std::string& issuer, const std::string& why) {
  return fail(fault::backend_failed, "The identity provider at " + issuer + ' ' + why);
}

} // namespace

outcome<json> fetch_object(const web_call& call, const cancel_token& stop) {
  auto answer = call_web(call, stop);
  if (!answer) return tl::unexpected{answer.error()};
  bool refused = answer->status == 401 || answer->status == 403;
  if (answer->status != 200)
    return fail(refused ? fault::forbidden : fault::backend_failed,
                call.url + " answered with status " + std::to_string(answer->status));
  auto out = json::parse(answer->body, nullptr, false);
  if (!out.is_object()) return fail(fault::backend_failed, call.url + " did not answer with a JSON object");
  return out;
}

outcome<provider_facts> discover(const std::string& issuer, const cancel_token& stop) {
  auto base = issuer.ends_with('/') ? issuer.substr(0, issuer.size() - 1) : issuer;
  auto facts = fetch_object({"GET", base + "/.well-known/openid-configuration"}, stop);
  if (!facts) return tl::unexpected{facts.error()};
  if (facts->value("issuer", json{}) != issuer) return no_provider(issuer, "says that it is another issuer");
  provider_facts out{url_in(*facts, "authorization_endpoint"), url_in(*facts, "token_endpoint"),
                     url_in(*facts, "userinfo_endpoint"), !takes_basic(*facts)};
  auto keys_at = url_in(*facts, "jwks_uri");
  if (out.authorization_endpoint.empty() || out.token_endpoint.empty() || keys_at.empty())
    return no_provider(issuer, "does not say where one logs in, gets tokens and finds its keys by https");
  auto answer = call_web({"GET", keys_at}, stop);
  if (!answer) return tl::unexpected{answer.error()};
  auto keys = read_key_set(answer->body);
  if (answer->status != 200 || !keys || keys->empty()) return no_provider(issuer, "has no key that can be used");
  out.keys = std::move(*keys);
  return out;
}

std::string form_of(const std::vector<std::pair<std::string, std::string>>& fields) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  auto add = [&](const std::string& text) {
    for (unsigned char c : text) {
      bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                   c == '_' || c == '~';
      plain ? out += static_cast<char>(c) : (out += '%') += {digits[c >> 4], digits[c & 15]};
    }
  };
  for (auto& [name, value] : fields) {
    if (!out.empty()) out += '&';
    add(name);
    out += '=';
    add(value);
  }
  return out;
}

} // namespace troupe
