#pragma once

#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <string_view>

namespace troupe {

/// Whether the server alone sets this key of an instance: what others say of it is not taken. A card's MAC address may
/// be chosen.
inline bool is_servers_own(std::string_view key) { return key.starts_with("volatile.") && !key.ends_with(".hwaddr"); }

/// fault::invalid: one of the volatile keys is none of LXD's, so that nobody would ever give it a meaning.
outcome<void> check_volatile_names(const config_map& config);

} // namespace troupe
