#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace troupe::qemu {

// Members of what QEMU says, which may have been taken over by its guest: any type may come in place of the right one.

/// The member, or null.
inline const nlohmann::json& member_of(const nlohmann::json& from, const char* name) {
  static const nlohmann::json none;
  if (!from.is_object()) return none;
  auto at = from.find(name);
  return at == from.end() ? none : *at;
}

inline std::string text_of(const nlohmann::json& from, const char* name) {
  const auto& value = member_of(from, name);
  return value.is_string() ? value.get<std::string>() : std::string{};
}

inline int64_t number_of(const nlohmann::json& from, const char* name, int64_t fallback = 0) {
  const auto& value = member_of(from, name);
  return value.is_number_integer() ? value.get<int64_t>() : fallback;
}

} // namespace troupe::qemu
