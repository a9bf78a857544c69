#pragma once

#include "actors/oidc_settings.hpp"
#include "messages/error.hpp"

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace troupe {

/// What the provider vouches for, out of the claims of a token that was verified.
struct oidc_login {
  std::string email, name;
  std::string subject; // ISSUER SUBJECT: who it is, whatever the address
  std::vector<std::string> groups;
  int64_t told_at = 0, ends = 0; // seconds since the epoch
};

/// forbidden, with the reason: no address, one that nobody has verified, or none that can name an identity.
outcome<oidc_login> login_of(const nlohmann::json& claims, const oidc_settings& settings);

/// The claims say who it is, with all that the configuration asks for; else the provider has to be asked.
bool say_enough(const nlohmann::json& claims, const oidc_settings& settings);

} // namespace troupe
