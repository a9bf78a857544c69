#include "gateway/rest/browser.hpp"

#include "actors/server_keys.hpp"
#include "gateway/http_parser.hpp"
#include "gateway/tls_listeners.hpp"
#include "runtime/listen_address.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr std::pair<std::string_view, std::string_view> cors_headers[] = {
    {"core.https_allowed_methods", "Access-Control-Allow-Methods"},
    {"core.https_allowed_headers", "Access-Control-Allow-Headers"},
    {"core.https_allowed_credentials", "Access-Control-Allow-Credentials"},
};

bool is_own_name(std::string_view authority, const tls_identity* own) {
  auto name = host_of(authority);
  if (is_ip(name) || same_text(name, "localhost")) return true;
  return own && std::any_of(own->own().dns_names.begin(), own->own().dns_names.end(),
                            [&](auto& each) { return same_text(each, name); });
}

bool is_own_page(std::string_view origin, std::string_view authority) {
  for (std::string_view scheme : {"https://", "wss://"}) // some websocket clients name the latter
    if (origin.starts_with(scheme) && same_text(origin.substr(scheme.size()), authority)) return true;
  return false;
}

} // namespace

outcome<void> judge_origin(const http_request& request, const snapshot& records, const tls_listeners& listeners) {
  auto origin = request.header("Origin");
  if (origin.empty() || request.peer.address.empty()) return {};
  auto allowed = server_text(records, "core.https_allowed_origin");
  if (allowed == "*" || (!allowed.empty() && origin == allowed)) return {};
  auto host = request.header("Host");
  if (is_own_page(origin, host) && is_own_name(host, listeners.present().identity.get())) return {};
  return fail(fault::forbidden, "Requests from this origin are not allowed");
}

void allow_origin(const http_request& request, const snapshot& records, const responder& answer) {
  if (request.header("Origin").empty()) return;
  auto allowed = server_text(records, "core.https_allowed_origin");
  if (allowed.empty()) return;
  answer.add_header("Access-Control-Allow-Origin", allowed);
  for (auto& [key, name] : cors_headers)
    if (auto value = server_text(records, key); !value.empty() && value != "false")
      answer.add_header(std::string{name}, value);
}

} // namespace troupe
