#include "gateway/oidc/login_pages.hpp"

#include "actors/server_keys.hpp"
#include "gateway/rest/authentication_log.hpp"
#include "gateway/rest/request.hpp"
#include "messages/time.hpp"

#include <sstream>

namespace troupe {
namespace {

constexpr std::string_view strict = "Strict";
constexpr std::string_view lax = "Lax"; // it has to come along when the provider sends the browser back

int64_t now_seconds() { return now_ns() / 1'000'000'000; }

std::string cookie(std::string_view name, std::string_view value, std::string_view same_site, int64_t seconds) {
  return std::string{name} + '=' + std::string{value} +
         "; Path=/; Secure; HttpOnly; SameSite=" + std::string{same_site} + "; Max-Age=" + std::to_string(seconds);
}

std::string no_cookie(std::string_view name) { return cookie(name, "", strict, 0); }

void redirect(const responder& answer, const std::string& where, const std::vector<std::string>& cookies) {
  http_response out;
  out.status = 303;
  out.headers = {{"Location", where}, {"Cache-Control", "no-store"}};
  for (auto& one : cookies) out.headers.emplace_back("Set-Cookie", one);
  answer.send(std::move(out));
}

std::string callback_of(const http_request& request) {
  return "https://" + std::string{request.header("Host")} + "/oidc/callback";
}

/// Nobody needs a token that outlives the session: none is kept.
std::string scopes_for_browsers(const oidc_settings& settings) {
  std::istringstream words{settings.scopes};
  std::string out;
  for (std::string word; words >> word;)
    if (word != "offline_access") out += (out.empty() ? "" : " ") + word;
  return out;
}

header head_of(const http_request& request) {
  header out;
  out.who = {"", "tls", request.peer.address, ~0u, trust::none};
  return out;
}

} // namespace

bool login_pages::serve(const std::shared_ptr<const http_request>& request, const responder& answer) {
  auto& path = request->segments;
  if (request->method != "GET" || path.size() != 2 || path[0] != "oidc" || request->peer.address.empty()) return false;
  visit by{request, answer};
  if (path[1] == "logout") leave(by);
  if (path[1] == "login") begin(by);
  if (path[1] == "callback") come_back(by);
  return path[1] == "login" || path[1] == "callback" || path[1] == "logout";
}

std::string login_pages::login_url(const visit& by, const std::string& endpoint, const oidc_settings& settings,
                                   const std::string& value) const {
  auto& cookies = gate_.cookies();
  std::vector<std::pair<std::string, std::string>> fields{
      {"response_type", "code"},
      {"client_id", settings.client},
      {"redirect_uri", callback_of(*by.http)},
      {"scope", scopes_for_browsers(settings)},
      {"state", cookies.derive(value, "state")},
      {"nonce", cookies.derive(value, "nonce")},
      {"code_challenge", challenge_of(cookies.derive(value, "verifier"))},
      {"code_challenge_method", "S256"}};
  if (settings.audience != settings.client) fields.emplace_back("audience", settings.audience);
  return endpoint + (endpoint.find('?') == endpoint.npos ? '?' : '&') + form_of(fields);
}

void login_pages::begin(const visit& by) {
  auto* provider = gate_.provider(with_.db.read());
  if (!provider) return by.answer.send(error_response({fault::not_found, "not found"}));
  provider->authorization_endpoint([this, by, settings = provider->settings()](const outcome<std::string>& endpoint) {
    if (!endpoint) return by.answer.send(error_response(endpoint.error()));
    auto value = gate_.cookies().make(now_seconds());
    redirect(by.answer, login_url(by, *endpoint, settings, value),
             {cookie(login_cookie_name, value, lax, login_cookie::seconds)});
  });
}

/// Empty: the provider's answer belongs to a login that this browser has begun here.
std::string login_pages::doubt_of(const visit& by, const oidc_settings& settings, std::string_view value) const {
  auto& cookies = gate_.cookies();
  auto issuer = by.http->parameter("iss"); // RFC 9207
  if (!cookies.is_ours(value, now_seconds()) ||
      !same_secret(by.http->parameter("state"), cookies.derive(value, "state")))
    return "The login was not begun by this browser, or too long ago";
  if (!issuer.empty() && issuer != settings.issuer) return "Another identity provider answered";
  if (by.http->parameter("code").empty()) return "The identity provider has not let him in";
  return {};
}

void login_pages::come_back(const visit& by) {
  auto* provider = gate_.provider(with_.db.read());
  if (!provider) return by.answer.send(error_response({fault::not_found, "not found"}));
  auto value = cookie_of(*by.http, login_cookie_name);
  if (auto doubt = doubt_of(by, provider->settings(), value); !doubt.empty()) return turn_away(by, doubt);
  auto& cookies = gate_.cookies();
  identity_provider::code_call call{std::string{by.http->parameter("code")}, cookies.derive(value, "verifier"),
                                    cookies.derive(value, "nonce"), callback_of(*by.http)};
  provider->redeem(call, [this, by](const outcome<oidc_login>& login) {
    if (!login) return turn_away(by, login.error().message);
    gate_.enter(*login, by.http->peer.address, [this, by, login = *login](const caller& who) {
      who.refused ? turn_away(by, who.doubt) : let_in(by, who, login);
    });
  });
}

/// The reason is for the log: who asks has proved nothing.
void login_pages::turn_away(const visit& by, const std::string& why) {
  guests_.turned_away(head_of(*by.http), by.http->peer, {{"path", by.http->path}}, why);
  auto out = error_response({fault::forbidden, "The login failed"});
  out.headers.emplace_back("Set-Cookie", no_cookie(login_cookie_name));
  by.answer.send(std::move(out));
}

void login_pages::let_in(const visit& by, const caller& who, const oidc_login& login) {
  auto now = now_seconds(), ends = later_by(now, server_text(with_.db.read(), "oidc.session.expiry")).value_or(now);
  auto secret = gate_.sessions().begin({login.email, login.subject, ends});
  header head;
  head.who = who.who;
  guests_.came_in(head);
  redirect(by.answer, "/", {no_cookie(login_cookie_name), cookie(session_cookie, secret, strict, ends - now)});
}

void login_pages::leave(const visit& by) {
  gate_.sessions().end(cookie_of(*by.http, session_cookie));
  redirect(by.answer, "/", {no_cookie(session_cookie)});
}

} // namespace troupe
