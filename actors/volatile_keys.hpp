#pragma once

#include <string_view>

namespace troupe {

/// Whether the server alone sets this key of an instance: what others say of it is not taken. A card's MAC address may be
/// chosen.
inline bool is_servers_own(std::string_view key) { return key.starts_with("volatile.") && !key.ends_with(".hwaddr"); }

} // namespace troupe
