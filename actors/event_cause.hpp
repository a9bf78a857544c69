#pragma once

#include "persist/store.hpp"

#include <string>

namespace troupe {

/// Says of the lifecycle events of a change which operation brought it about.
void mark_cause(batch& change, const std::string& operation);

} // namespace troupe
