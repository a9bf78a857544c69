#pragma once

#include "actors/config_keys.hpp"

#include <span>
#include <string>
#include <string_view>

namespace troupe {

/// One row per config key of a project; checks, defaults and docs come from here.
struct project_key {
  std::string_view key; // "user.*": a family
  value_type form;
  std::string_view fallback; // what a missing or empty key means
  std::string_view choices;  // "block allow"; empty: any value of that form
  std::string_view later;    // values that LXD knows and that are not built yet: refused as unsupported
  std::string_view meaning;
};
std::span<const project_key> project_keys();
const project_key* find_project_key(std::string_view key);

/// Keys and values as such; whether the project's instances agree is the PROJECTS actor's question.
outcome<void> check_project_config(const config_map& config);

/// The value in force: what is set, else the key's default.
std::string_view project_value_of(const config_map& config, std::string_view key);

/// The config of a project; empty if there is none of that name.
config_map project_config(const snapshot& from, std::string_view project);

/// What a project can have for itself. `networks`: bridges are the server's, so only the default project has them.
enum class feature : uint8_t { images, profiles, networks, volumes };

/// The project whose images, profiles, networks or custom volumes `project` uses: its own, or default's.
std::string home_of(const snapshot& from, std::string_view project, feature what);

} // namespace troupe
