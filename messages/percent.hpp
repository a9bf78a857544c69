#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// Percent-decoded; `plus_is_space`: of a query. Nothing: a broken escape, or one of NUL, which no name or value may
/// hold and C strings would end at.
std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space = false);

} // namespace troupe
