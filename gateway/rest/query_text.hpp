#pragma once

#include "messages/config_map.hpp"
#include "messages/error.hpp"

namespace troupe {

/// "a=b&c=d", percent-encoded, as X-LXD-properties and its like carry it; fault::invalid.
outcome<config_map> parse_query(std::string_view query);

} // namespace troupe
