#pragma once

#include "actors/services.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

class tls_listeners;

/// How others reach the server; empty while it listens nowhere.
struct announcement {
  std::vector<std::string> addresses;
  std::string certificate, fingerprint; // PEM
  bool oidc = false;                    // an identity provider is configured
  bool operator==(const announcement&) const = default;
};

announcement announced_by(const tls_listeners& listeners, const snapshot& records);

/// What GET /1.0 says that does not change while the daemon runs: the Server object's text in front of `config`, worked
/// out once.
std::string server_json(const services& with, const config_map& config, const announcement& announced);
/// The same for strangers: nothing of this server but what it can do.
std::string untrusted_server_json(bool oidc);

/// The names of `api_extensions`: only what is really there.
const std::vector<std::string_view>& api_extensions();

/// The host's hardware, as far as the stock client shows it. Blocks (reads /proc and /sys).
std::string resources_json();

} // namespace troupe
