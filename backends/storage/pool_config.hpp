#pragma once

#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// Checks keys and values of a storage pool's config against the one table of keys, without looking at the host.
/// `fault::invalid` names the key that is unknown or has a bad value; `fault::unsupported` a key that does nothing yet.
outcome<void> check_pool_config(std::string_view driver, const config_map& config);

/// A random UUID as text, 36 characters.
std::string random_uuid();

} // namespace troupe
