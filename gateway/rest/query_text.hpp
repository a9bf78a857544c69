#pragma once

#include "messages/config_map.hpp"

namespace troupe {

/// "a=b&c=d", percent-encoded, as X-LXD-properties and its like carry it.
config_map parse_query(std::string_view query);

} // namespace troupe
