#include "backends/sink/sink_config.hpp"

namespace troupe {
namespace {

using enum sink_value;

constexpr sink_key keys[] = {
    {"file", "path", file_name, false, false, "", "Name of the file below DIR/sinks (default: NAME.jsonl)"},
    {"webhook", "url", web_url, true, false, "", "Where events are posted: http or https"},
    {"webhook", "header.*", header, false, true, "", "A header of every request, e.g. header.Authorization"},
    {"webhook", "ca", certificates, false, false, "", "Certificates (PEM) to trust instead of the system's"},
    {"webhook", "batch", boolean, false, false, "false", "Up to 100 events in one request"},
    {"webhook", "timeout", seconds, false, false, "10", "Seconds for one request, 1 to 300"},
    {"nats", "url", nats_url, true, false, "", "nats://HOST[:PORT], or tls://HOST[:PORT]"},
    {"nats", "prefix", subject, false, false, "troupe", "What subjects begin with"},
    {"nats", "user", text, false, false, "", "User name"},
    {"nats", "password", text, false, true, "", "Password of the user"},
    {"nats", "token", text, false, true, "", "Token, instead of user and password"},
    {"nats", "ca", certificates, false, false, "", "Certificates (PEM) to trust instead of the system's"},
    {"nats", "jetstream", boolean, false, false, "false",
     "Wait for the acknowledgement of a stream, not of the server"},
    {"nats", "timeout", seconds, false, false, "5", "Seconds for connecting and for each acknowledgement, 1 to 300"},
};

} // namespace

std::span<const sink_key> sink_keys() { return keys; }

const sink_key* find_sink_key(std::string_view type, std::string_view key) {
  for (auto& row : keys) {
    bool open = row.key.ends_with('*');
    auto fixed = row.key.substr(0, row.key.size() - open);
    if (row.type == type && (open ? key.starts_with(fixed) && key.size() > fixed.size() : key == fixed)) return &row;
  }
  return nullptr;
}

std::string sink_setting(std::string_view type, const config_map& config, std::string_view key) {
  auto row = find_sink_key(type, key);
  return std::string{get(config, key, row ? row->fallback : std::string_view{})};
}

std::chrono::milliseconds sink_timeout(std::string_view type, const config_map& config) {
  return std::chrono::seconds{std::stoi(sink_setting(type, config, "timeout"))};
}

std::string sink_file_name(const std::string& sink, const config_map& config) {
  auto named = get(config, "path");
  return named.empty() ? sink + ".jsonl" : std::string{named};
}

} // namespace troupe
