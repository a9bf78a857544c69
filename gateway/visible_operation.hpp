#pragma once

#include "messages/config_map.hpp"
#include "messages/operation.capnp.h"
#include "messages/rights.hpp"

namespace troupe {

/// One's own operations, and those of projects whose operations one may see.
inline bool may_view(const principal& who, schema::Operation::Reader op) {
  if (who.level == trust::full) return true;
  if (op.getProject().size() > 0 && who.may("can_view_operations", the_project(view(op.getProject())))) return true;
  return who.level == trust::granted && !who.username.empty() && view(op.getOwner().getUsername()) == who.username;
}

/// What stands behind it may still be refused: cancelling is for its owner, and who may do everything in the project.
inline bool may_cancel(const principal& who, schema::Operation::Reader op) {
  if (who.level != trust::granted) return may_view(who, op);
  bool own = view(op.getOwner().getUsername()) == who.username;
  return own || (op.getProject().size() > 0 && who.may("operator", the_project(view(op.getProject()))));
}

} // namespace troupe
