#pragma once

#include "messages/error.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace troupe {

/// A name by `snapshots.pattern`: "%d" is a number, "{{ creation_date }}" the time, and
/// "{{ creation_date|date:'2006-01-02' }}" the time as Go's layouts write it; nothing else is known, and
/// fault::invalid. `seconds` since the epoch, shown in local time. A "%d" stays in, at most one.
outcome<std::string> render_pattern(std::string_view pattern, int64_t seconds);

} // namespace troupe
