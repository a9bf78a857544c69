#pragma once

#include "persist/store_state.hpp"

namespace troupe {

/// store::open, into an empty state.
outcome<void> open_state(store_state& state, const std::string& directory, const std::string& member,
                         const store_options& options);

} // namespace troupe
