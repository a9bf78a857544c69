#pragma once

#include "messages/json.capnp.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// Config as code handles it; ordered, so that rendering and hashing are stable.
using config_map = std::map<std::string, std::string, std::less<>>;
/// Devices by name.
using device_map = std::map<std::string, config_map, std::less<>>;

config_map to_map(capnp::List<schema::KeyValue>::Reader list);
device_map to_map(capnp::List<schema::Device>::Reader list);
std::vector<std::string> to_vector(capnp::List<capnp::Text>::Reader list);

void fill(capnp::List<schema::KeyValue>::Builder list, const config_map& from);
void fill(capnp::List<schema::Device>::Builder list, const device_map& from);
void fill(capnp::List<capnp::Text>::Builder list, const std::vector<std::string>& from);

inline std::string_view view(capnp::Text::Reader text) { return {text.begin(), text.size()}; }
inline std::string text(capnp::Text::Reader from) { return {from.begin(), from.size()}; }

/// The value of `key`, or `fallback`.
inline std::string_view get(const config_map& map, std::string_view key, std::string_view fallback = {}) {
  auto at = map.find(key);
  return at == map.end() ? fallback : std::string_view{at->second};
}

/// LXD's booleans: true, 1, yes, on (any case) are true; everything else is false.
bool is_true(std::string_view value) noexcept;

} // namespace troupe
