#include "actors/server_keys.hpp"

#include "actors/profiles.hpp"

#include <algorithm>
#include <charconv>

namespace troupe {
namespace {

constexpr server_key_row rows[] = {
    {"events.retention.count", 2'000'000, 1, 1'000'000'000, "How many events are kept at most"},
    {"events.retention.days", 7, 1, 3650, "Days for which an event is kept at most"},
};

std::optional<int64_t> number_of(std::string_view value) {
  int64_t out = 0;
  auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), out);
  if (problem != std::errc{} || end != value.data() + value.size()) return std::nullopt;
  return out;
}

} // namespace

std::span<const server_key_row> server_keys() { return rows; }

const server_key_row* find_server_key(std::string_view key) {
  auto at = std::find_if(std::begin(rows), std::end(rows), [&](const server_key_row& row) { return row.key == key; });
  return at == std::end(rows) ? nullptr : at;
}

outcome<void> check_server_value(const server_key_row& key, std::string_view value) {
  auto number = number_of(value);
  if (number && *number >= key.least && *number <= key.most) return {};
  return fail(fault::invalid, "Server config key \"" + std::string{key.key} + "\" must be a whole number from " +
                                  std::to_string(key.least) + " to " + std::to_string(key.most));
}

int64_t server_number(const snapshot& records, std::string_view key) {
  auto set = records.get(table::config, key);
  if (auto number = set ? number_of(*set) : std::nullopt) return *number;
  return find_server_key(key)->fallback;
}

config_map shown_server_config(const snapshot& records) {
  auto out = server_config(records);
  for (auto& row : rows) out.emplace(row.key, std::to_string(row.fallback));
  return out;
}

} // namespace troupe
