#pragma once

#include "gateway/rest/routes.hpp"

namespace troupe {

/// Of somebody whose rights come from groups: do they let him call this? Judged by the table in needs.cpp; a route
/// without a row there is closed to him. `names`: what the pattern's braces matched; fewer of them: of the thing that
/// is still to be named only what holds it is judged. not_found for what he may not see, as if it were not there.
outcome<void> judge_need(const principal& who, std::string_view project, const route& row,
                         const std::vector<std::string>& names, const snapshot& records);

/// The entitlement that the table wants for it; "*": the handler looks closer; empty: closed.
std::string_view need_of(const route& row);

} // namespace troupe
