#include "actors/server_keys.hpp"

#include "actors/names.hpp"
#include "actors/profiles.hpp"
#include "backends/image/archives.hpp"
#include "runtime/listen_address.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

namespace troupe {
namespace {

using kind = server_value;

constexpr server_key_row rows[] = {
    {"backups.compression_algorithm", kind::compression, "gzip", 0, 0,
     "How backups are compressed: none, gzip, bzip2, lzma, xz or zstd, with a level as in zstd-19 if wanted"},
    {"core.bus_address", kind::listeners, "", 0, 0, "Where the message bus listens for TLS; empty: nowhere"},
    {"core.https_address", kind::listeners, "", 0, 0, "Where the REST API listens for HTTPS; empty: nowhere"},
    {"core.https_allowed_credentials", kind::boolean, "", 0, 0,
     "Browsers may send credentials from other origins (CORS)"},
    {"core.https_allowed_headers", kind::text, "", 0, 0, "Headers that other origins may send (CORS)"},
    {"core.https_allowed_methods", kind::text, "", 0, 0, "Methods that other origins may use (CORS)"},
    {"core.https_allowed_origin", kind::text, "", 0, 0,
     "The origin that browsers may come from besides our own, or * (CORS)"},
    {"core.https_trusted_proxy", kind::ips, "", 0, 0, "Proxies that may say in a PROXY header for whom they speak"},
    {"core.metrics_address", kind::listeners, "", 0, 0,
     "Where metrics, and nothing else, are served by HTTPS; empty: nowhere"},
    {"core.metrics_authentication", kind::boolean, "true", 0, 0, "Only who is trusted may ask for metrics"},
    {"core.remote_token_expiry", kind::span, "", 0, 0,
     "How long a token to be trusted can be used; empty: until it is"},
    {"core.trust_ca_certificates", kind::boolean, "", 0, 0,
     "Whoever the authority in server.ca vouches for is trusted"},
    {"core.trust_password", kind::secret, "", 0, 0, "With it, clients can make themselves trusted"},
    {"events.retention.count", kind::number, "2000000", 1, 1'000'000'000, "How many events are kept at most"},
    {"events.retention.days", kind::number, "7", 1, 3650, "Days for which an event is kept at most"},
    {"images.compression_algorithm", kind::compression, "gzip", 0, 0, "The same for published images"},
    {"oidc.audience", kind::text, "", 0, 0, "Whom access tokens must be for; empty: the client"},
    {"oidc.client.id", kind::text, "", 0, 0, "The client that this server is to the identity provider"},
    {"oidc.client.secret", kind::secret, "", 0, 0, "That client's secret; empty: it is a public client"},
    {"oidc.device.client.id", kind::text, "", 0, 0, "The client for command lines; empty: the same"},
    {"oidc.groups.claim", kind::text, "", 0, 0, "The claim with the provider's groups of somebody"},
    {"oidc.issuer", kind::issuer, "", 0, 0, "The URL of the identity provider (OpenID Connect)"},
    {"oidc.scopes", kind::scopes, "openid email offline_access profile", 0, 0, "What clients ask the provider for"},
    {"oidc.session.expiry", kind::span, "1w", 3600, 0, "How long a browser's session lasts"},
    {"operations.retention.days", kind::number, "7", 1, 3650, "Days for which an operation is kept after its end"},
};

std::optional<int64_t> number_of(std::string_view value) {
  int64_t out = 0;
  auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), out);
  if (problem != std::errc{} || end != value.data() + value.size()) return std::nullopt;
  return out;
}

outcome<void> must(bool good, const server_key_row& key, const std::string& what) {
  if (good) return {};
  return fail(fault::invalid, "Server config key \"" + std::string{key.key} + "\" must be " + what);
}

outcome<void> check_number(const server_key_row& key, std::string_view value) {
  auto number = number_of(value);
  return must(number && *number >= key.least && *number <= key.most, key,
              "a whole number from " + std::to_string(key.least) + " to " + std::to_string(key.most));
}

outcome<void> check_ips(const server_key_row& key, std::string_view value) {
  for (auto& one : words_of(value))
    if (!is_ip(one)) return must(false, key, "IP addresses with commas between them");
  return {};
}

outcome<void> check_issuer(const server_key_row& key, std::string_view value) {
  constexpr std::string_view scheme = "https://";
  constexpr size_t bytes_max = 1024;
  auto rest = value.substr(std::min(scheme.size(), value.size()));
  bool plain = std::all_of(value.begin(), value.end(), [](char c) { return c > ' ' && c < 0x7f; });
  bool fits = value.starts_with(scheme) && !rest.empty() && rest.front() != '/' && plain && value.size() <= bytes_max &&
              rest.find_first_of("?#@\\\"") == rest.npos;
  return must(fits, key, "an https URL without user, query and fragment");
}

outcome<void> check_scopes(const server_key_row& key, std::string_view value) {
  auto has = [padded = ' ' + std::string{value} + ' '](const char* word) { return padded.find(word) != padded.npos; };
  if (auto good = check_header_value(key.key, value); !good) return good;
  return must(has(" openid ") && has(" email "), key, "words with spaces between them, openid and email among them");
}

outcome<void> check_span(const server_key_row& key, std::string_view value) {
  auto later = later_by(0, value);
  if (auto good = must(later.has_value(), key, "a span like \"15d\" or \"1H 30M\""); !good) return good;
  return must(*later >= key.least, key, "at least " + std::to_string(key.least) + " seconds");
}

constexpr size_t secret_bytes_max = 1024;

struct unit_row {
  char letter;
  int std::tm::*field;
  int times;
};
constexpr unit_row units[] = {{'S', &std::tm::tm_sec, 1},  {'M', &std::tm::tm_min, 1},  {'H', &std::tm::tm_hour, 1},
                              {'d', &std::tm::tm_mday, 1}, {'w', &std::tm::tm_mday, 7}, {'m', &std::tm::tm_mon, 1},
                              {'y', &std::tm::tm_year, 1}};
constexpr int span_number_max = 10'000'000;

} // namespace

std::span<const server_key_row> server_keys() { return rows; }

const server_key_row* find_server_key(std::string_view key) {
  auto at = std::find_if(std::begin(rows), std::end(rows), [&](const server_key_row& row) { return row.key == key; });
  return at == std::end(rows) ? nullptr : at;
}

outcome<void> check_server_value(const server_key_row& key, std::string_view value) {
  switch (key.type) {
    case kind::number:
      return check_number(key, value);
    case kind::boolean:
      return must(value == "true" || value == "false", key, "true or false");
    case kind::text:
      return check_header_value(key.key, value);
    case kind::ips:
      return check_ips(key, value);
    case kind::secret:
      return must(value.size() <= secret_bytes_max, key, "at most 1024 bytes");
    case kind::listeners:
      if (auto parsed = parse_listen_addresses(value, default_https_port); !parsed)
        return tl::unexpected{parsed.error()};
      return {};
    case kind::compression:
      if (auto parsed = parse_compression(value); !parsed) return tl::unexpected{parsed.error()};
      return {};
    case kind::span:
      return check_span(key, value);
    case kind::issuer:
      return check_issuer(key, value);
    case kind::scopes:
      return check_scopes(key, value);
  }
  return {};
}

int64_t server_number(const snapshot& records, std::string_view key) {
  return number_of(server_text(records, key)).value_or(0);
}

std::string server_text(const snapshot& records, std::string_view key) {
  if (auto set = records.get(table::config, key)) return std::string{*set};
  return std::string{find_server_key(key)->fallback};
}

config_map shown_server_config(const snapshot& records) {
  auto out = server_config(records);
  for (auto& [key, value] : out)
    if (auto* row = find_server_key(key); row && row->type == kind::secret) value = "true";
  return out;
}

outcome<int64_t> later_by(int64_t seconds, std::string_view span) {
  auto bad = [&] { return fail(fault::invalid, "\"" + std::string{span} + "\" is no span of time"); };
  std::tm parts{};
  time_t now = seconds;
  gmtime_r(&now, &parts);
  auto rest = span;
  while (!rest.empty()) {
    if (rest.front() == ' ') {
      rest.remove_prefix(1);
      continue;
    }
    int count = 0;
    auto [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), count);
    if (problem != std::errc{} || end == rest.data() + rest.size() || count < 0 || count > span_number_max)
      return bad();
    auto unit =
        std::find_if(std::begin(units), std::end(units), [&, at = end](auto& row) { return row.letter == *at; });
    if (unit == std::end(units)) return bad();
    parts.*(unit->field) += count * unit->times;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()) + 1);
  }
  return timegm(&parts);
}

} // namespace troupe
