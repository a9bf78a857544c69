#pragma once

#include "actors/records.hpp"
#include "messages/error.hpp"

#include <span>
#include <string_view>

namespace troupe {

/// One row per config key of the server that does something: a whole number within limits.
struct server_key_row {
  std::string_view key;
  int64_t fallback, least, most;
  std::string_view meaning;
};
std::span<const server_key_row> server_keys();
const server_key_row* find_server_key(std::string_view key);

/// A value of that key: invalid unless it is a whole number within the limits.
outcome<void> check_server_value(const server_key_row& key, std::string_view value);

/// The number in force: the one that is set, else the default. `key` must be in the table.
int64_t server_number(const snapshot& records, std::string_view key);

/// What GET /1.0 shows: what is set, and the defaults of the rest of the table.
config_map shown_server_config(const snapshot& records);

} // namespace troupe
