#pragma once

#include "messages/error.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A name by `snapshots.pattern`: "%d" is a number, "{{ creation_date }}" the time, and
/// "{{ creation_date|date:'2006-01-02' }}" the time as Go's layouts write it; nothing else is known, and
/// fault::invalid. `seconds` since the epoch, shown in local time. A "%d" stays in, at most one.
outcome<std::string> render_pattern(std::string_view pattern, int64_t seconds);

/// The name of a new snapshot at that time, beside those that are `taken`: "%d" becomes the number behind the highest
/// there is; a name without it that is taken gets one at its end. An empty pattern is "snap%d".
outcome<std::string> next_snapshot_name(const std::vector<std::string>& taken, std::string_view pattern,
                                        int64_t seconds);

} // namespace troupe
