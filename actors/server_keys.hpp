#pragma once

#include "actors/records.hpp"
#include "messages/error.hpp"

#include <span>
#include <string_view>

namespace troupe {

/// How a value of the server's configuration must look.
enum class server_value : uint8_t {
  number,      // whole, from `least` to `most`
  boolean,     // true, false
  text,        // no control characters
  listeners,   // IP:PORT, several with commas between them
  ips,         // IP addresses with commas between them
  span,        // "15d", "1H 30M"
  secret,      // shown as "true"
  issuer,      // the https URL of an identity provider
  scopes,      // of OpenID Connect, with spaces between them
  compression, // "gzip", "zstd-19"
};

/// One row per config key of the server that does something.
struct server_key_row {
  std::string_view key;
  server_value type;
  std::string_view fallback;   // in force while nothing is set
  int64_t least = 0, most = 0; // of a span: seconds, at least
  std::string_view meaning;
};
std::span<const server_key_row> server_keys();
const server_key_row* find_server_key(std::string_view key);

/// fault::invalid, with what is wrong, unless the key can have that value.
outcome<void> check_server_value(const server_key_row& key, std::string_view value);

/// The number in force: the one that is set, else the default. `key` must be a number of the table.
int64_t server_number(const snapshot& records, std::string_view key);
/// The value in force; empty: none.
std::string server_text(const snapshot& records, std::string_view key);

/// What GET /1.0 shows: what is set, without secrets.
config_map shown_server_config(const snapshot& records);

/// That span later ("15d": S, M, H, d, w, m(onths), y), in seconds; fault::invalid. Empty or "0d" and the like: the
/// same moment.
outcome<int64_t> later_by(int64_t seconds, std::string_view span);

} // namespace troupe
