#pragma once

#include "persist/store.hpp"

namespace troupe {

// A permission names its thing, and a restricted certificate its projects. So that nobody has a right on what is made
// later under the same name, such names go with the thing, in the same commit; when it gets another name, so do they.

/// Whether the batch takes something away that somebody may have a right on.
bool needs_upkeep(const store& db, const batch& what);
/// The batch, with what it means for groups and certificates, and the events that tell of it. These cut what is open of
/// those who had a right on a whole project: their streams of its events would go on, whoever has its name by then.
batch with_upkeep(const snapshot& records, const batch& what);

} // namespace troupe
