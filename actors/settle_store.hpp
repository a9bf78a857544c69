#pragma once

#include "actors/glue.hpp"

namespace troupe {

/// To the store: answered with unit when all that was proposed before it is committed, or refused.
struct settle_store {};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::settle_store)
