#pragma once

#include "actors/project_use.hpp"

namespace troupe {

// limits.networks: how many networks a project may have. Networks belong to project default, so it can be set there.

/// The limit (-1: none) and what of it is used.
limit_state network_limit(const snapshot& records, std::string_view project, const config_map& project_config);
/// fault::forbidden: the project has more networks than this configuration allows; invalid: it can have none at all.
outcome<void> check_network_limit(const snapshot& records, std::string_view project, const config_map& project_config);
/// What else must hold and be written when a network is added; forbidden: the limit is reached. Of several that add at
/// once each counts the others.
outcome<batch> admit_network(const snapshot& now, std::string_view project);

} // namespace troupe
