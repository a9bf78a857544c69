#pragma once

#include "actors/records.hpp"
#include "messages/error.hpp"

#include <string>

namespace troupe {

/// The identity provider that the configuration names (`oidc.*`).
struct oidc_settings {
  std::string issuer, client, secret; // without a secret the client is a public one
  std::string device_client;          // for command lines; `client` unless set
  std::string audience;               // of access tokens; `client` unless set
  std::string groups_claim;           // empty: groups of the provider's do not count
  std::string scopes;                 // with spaces between them

  bool on() const { return !issuer.empty() && !client.empty(); }
  bool operator==(const oidc_settings&) const = default;
};
oidc_settings oidc_settings_of(const config_map& config);
oidc_settings oidc_settings_of(const snapshot& records);

/// What keys must not say together.
outcome<void> check_oidc_config(const config_map& config);

} // namespace troupe
