#include "cli/audit/audit.hpp"

#include "cli/certificate_file.hpp"

#include <algorithm>
#include <ctime>

namespace troupe::audit {
namespace {

constexpr std::time_t soon = 30 * 86400; // seconds in which somebody should care

std::string date_in(std::time_t seconds) {
  auto then = std::time(nullptr) + seconds;
  char text[16];
  std::tm parts{};
  gmtime_r(&then, &parts);
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &parts)};
}

// Empty: not before long. Dates of this form are ordered as texts.
std::string ends_when(const std::string& pem) {
  auto read = read_certificate(pem);
  if (!read) return "It cannot be read";
  if (read->until < date_in(0)) return "It ended on " + read->until;
  if (read->until < date_in(soon)) return "It ends on " + read->until;
  return {};
}

std::string short_name(const nlohmann::json& certificate) {
  auto name = certificate.value("name", "");
  return certificate.value("fingerprint", "").substr(0, 12) + (name.empty() ? "" : " " + name);
}

bool is_everywhere(const std::string& address) {
  return address.starts_with(':') || address.starts_with("0.0.0.0") || address.starts_with("[::]") || address == "::";
}

} // namespace

std::vector<finding> listeners_everywhere(const facts& of) {
  std::vector<finding> out;
  for (auto key : {"core.https_address", "core.bus_address", "core.metrics_address"}) {
    auto list = of.config(key);
    for (size_t at = 0; at < list.size();) {
      auto comma = std::min(list.find(',', at), list.size());
      auto address = list.substr(at, comma - at);
      address.erase(0, address.find_first_not_of(' '));
      if (is_everywhere(address)) out.push_back({key, "It listens on every address of the host: " + address});
      at = comma + 1;
    }
  }
  return out;
}

std::vector<finding> trust_password(const facts& of) {
  if (of.config("core.trust_password").empty()) return {};
  return {{"core.trust_password", "Whoever knows or guesses one password becomes an administrator"}};
}

std::vector<finding> tokens_for_ever(const facts& of) {
  if (!of.config("core.remote_token_expiry").empty()) return {};
  return {{"core.remote_token_expiry", "A token that nobody uses is good until the daemon ends"}};
}

std::vector<finding> trusted_authority(const facts& of) {
  if (of.config("core.trust_ca_certificates") != "true") return {};
  return {{"core.trust_ca_certificates", "Everybody the authority vouches for is an administrator"}};
}

std::vector<finding> foreign_origins(const facts& of) {
  if (of.config("core.https_allowed_origin") != "*") return {};
  return {{"core.https_allowed_origin", "Pages of every origin may use the certificate in a browser"}};
}

std::vector<finding> metrics_for_everybody(const facts& of) {
  if (of.config("core.metrics_authentication") != "false") return {};
  return {{"core.metrics_authentication", "Whoever reaches a listener learns of every instance and what it uses"}};
}

std::vector<finding> unrestricted_certificates(const facts& of) {
  std::vector<finding> out;
  for (auto& one : of.certificates)
    if (one.value("type", "") == "client" && !one.value("restricted", false))
      out.push_back({short_name(one), "It may do everything"});
  return out;
}

std::vector<finding> ending_certificates(const facts& of) {
  std::vector<finding> out;
  for (auto& one : of.certificates)
    if (auto when = ends_when(one.value("certificate", "")); !when.empty()) out.push_back({short_name(one), when});
  return out;
}

std::vector<finding> ending_server_certificate(const facts& of) {
  auto pem = of.server.value("environment", nlohmann::json::object()).value("certificate", "");
  auto when = pem.empty() ? std::string{} : ends_when(pem);
  if (when.empty()) return {};
  return {{"server.crt", when}};
}

std::vector<finding> public_images(const facts& of) {
  std::vector<finding> out;
  if (of.config("core.https_address").empty()) return out;
  for (auto& one : of.images)
    if (one.value("public", false))
      out.push_back({one.value("fingerprint", "").substr(0, 12), "Strangers may have it, over the network"});
  return out;
}

std::vector<finding> plain_sinks(const facts& of) {
  std::vector<finding> out;
  for (auto& one : of.sinks) {
    auto url = one.value("config", nlohmann::json::object()).value("url", "");
    if (url.starts_with("http://") || url.starts_with("nats://"))
      out.push_back({one.value("name", ""), "It sends events unencrypted"});
  }
  return out;
}

} // namespace troupe::audit
