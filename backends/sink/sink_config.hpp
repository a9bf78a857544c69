#pragma once

#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <chrono>
#include <span>
#include <string>
#include <string_view>

namespace troupe {

enum class sink_value : uint8_t { text, boolean, seconds, web_url, nats_url, file_name, subject, header, certificates };

/// One row per config key of a sink; validation and docs come from it.
struct sink_key {
  std::string_view type, key; // a trailing '*' stands for any suffix
  sink_value form;
  bool required = false;
  bool secret = false; // written by clients, never shown
  std::string_view fallback;
  std::string_view meaning;
};

std::span<const sink_key> sink_keys();
/// nullptr: no such key.
const sink_key* find_sink_key(std::string_view type, std::string_view key);

/// A known type, known keys, well-formed values, nothing missing. `config` holds the secrets too.
outcome<void> check_sink_config(std::string_view type, const config_map& config);

/// The value or the table's fallback.
std::string sink_setting(std::string_view type, const config_map& config, std::string_view key);
/// The key "timeout".
std::chrono::milliseconds sink_timeout(std::string_view type, const config_map& config);
/// Name of the file below the sinks' directory.
std::string sink_file_name(const std::string& sink, const config_map& config);

} // namespace troupe
