#pragma once

#include "persist/store.hpp"

namespace troupe {

// A permission names its thing. So that nobody has a right on what is made later under the same name, permissions go
// with what they are on, in the same commit; when it gets another name, so do they.

/// Whether the batch takes something away that permissions can be on.
bool takes_away(const batch& what);
/// The batch, with what it means for the groups' permissions.
batch with_upkeep(const snapshot& records, const batch& what);

} // namespace troupe
