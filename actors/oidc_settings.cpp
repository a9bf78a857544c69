#include "actors/oidc_settings.hpp"

#include "actors/server_keys.hpp"

namespace troupe {
namespace {

template <class Value>
oidc_settings settings_by(Value value_of) {
  oidc_settings out{value_of("oidc.issuer"),        value_of("oidc.client.id"),
                    value_of("oidc.client.secret"), value_of("oidc.device.client.id"),
                    value_of("oidc.audience"),      value_of("oidc.groups.claim"),
                    value_of("oidc.scopes")};
  if (out.device_client.empty()) out.device_client = out.client;
  if (out.audience.empty()) out.audience = out.client;
  return out;
}

} // namespace

oidc_settings oidc_settings_of(const config_map& config) {
  return settings_by([&](std::string_view key) {
    auto value = get(config, key);
    return std::string{value.empty() ? find_server_key(key)->fallback : value};
  });
}

oidc_settings oidc_settings_of(const snapshot& records) {
  return settings_by([&](std::string_view key) { return server_text(records, key); });
}

outcome<void> check_oidc_config(const config_map& config) {
  if (get(config, "oidc.client.id").empty() && !get(config, "oidc.device.client.id").empty())
    return fail(fault::invalid, "\"oidc.device.client.id\" cannot be set if \"oidc.client.id\" is not");
  return {};
}

} // namespace troupe
