#pragma once

#include "actors/records.hpp"
#include "messages/error.hpp"

#include <string_view>

namespace troupe {

/// May a project with this config hold an instance with this effective config and these effective devices? The one
/// place that knows what `restricted` means: judged is the effect (profiles applied, defaults filled in), whatever
/// request led to it and whoever asked. A key that is not marked tenant_safe, and that no rule opens, is refused.
/// fault::forbidden with one sentence that names the key and the rule.
outcome<void> judge(std::string_view project, const config_map& project_config, const expansion& effective);

/// Whether a rule or a limit can tell the two apart: devices, limits, and keys that `judge` looks at.
bool differ_by_rule(const expansion& before, const expansion& after);

} // namespace troupe
