#include "gateway/oidc/login.hpp"

#include "runtime/log.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using json = nlohmann::json;
constexpr size_t groups_max = 1000, name_bytes_max = 200;

bool is_plain(const std::string& text) {
  return text.size() <= name_bytes_max && std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) >= ' ' && c != 0x7f;
         });
}

std::string text_of(const json& claims, const char* name) {
  auto at = claims.find(name);
  return at != claims.end() && at->is_string() ? at->get<std::string>() : std::string{};
}

int64_t time_of(const json& claims, const char* name) {
  auto at = claims.find(name);
  constexpr double latest = 1e12; // whatever a token says fits
  return at != claims.end() && at->is_number() ? static_cast<int64_t>(std::clamp(at->get<double>(), 0.0, latest)) : 0;
}

bool is_address(const std::string& text) {
  auto at = text.find('@');
  return at != text.npos && at > 0 && at + 1 < text.size() && is_plain(text) && text.find('@', at + 1) == text.npos &&
         text.find_first_of(" /\\\"<>(),;:") == text.npos;
}

/// A claim that is no list of names gives none: whoever wrote it meant something else.
std::vector<std::string> groups_of(const json& claims, const std::string& name) {
  auto at = name.empty() ? claims.end() : claims.find(name);
  if (at == claims.end()) return {};
  bool good = at->is_array() && at->size() <= groups_max && std::all_of(at->begin(), at->end(), [](auto& one) {
                return one.is_string() && is_plain(one.template get_ref<const std::string&>());
              });
  if (!good) log().warn("The claim \"{}\" of an identity provider is no list of names, and gives no groups", name);
  auto out = good ? at->get<std::vector<std::string>>() : std::vector<std::string>{};
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

bool is_unverified(const json& claims) {
  auto at = claims.find("email_verified");
  return at != claims.end() && (*at == false || *at == "false");
}

} // namespace

bool say_enough(const json& claims, const oidc_settings& settings) {
  return claims.contains("email") && (settings.groups_claim.empty() || claims.contains(settings.groups_claim));
}

outcome<oidc_login> login_of(const json& claims, const oidc_settings& settings) {
  oidc_login out{text_of(claims, "email"), text_of(claims, "name"), text_of(claims, "sub")};
  if (!is_address(out.email)) return fail(fault::forbidden, "The identity provider names no e-mail address");
  if (is_unverified(claims)) return fail(fault::forbidden, "The identity provider has not verified the e-mail address");
  if (!is_plain(out.name)) out.name.clear();
  out.subject = settings.issuer + ' ' + out.subject;
  out.groups = groups_of(claims, settings.groups_claim);
  out.told_at = time_of(claims, "iat");
  out.ends = time_of(claims, "exp");
  return out;
}

} // namespace troupe
