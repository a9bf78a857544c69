#pragma once

#include "actors/services.hpp"

#include <string>

namespace troupe {

/// What GET /1.0 says that does not change while the daemon runs: the Server object's text in front of `config`, worked
/// out once.
std::string server_json(const services& with, const config_map& config);

/// The names of `api_extensions`: only what is really there.
const std::vector<std::string_view>& api_extensions();

/// The host's hardware, as far as the stock client shows it. Blocks (reads /proc and /sys).
std::string resources_json();

} // namespace troupe
