#pragma once

#include "messages/error.hpp"

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace troupe {

class server;

// A set-up is JSON in the shape of LXD's preseed: {config, networks, storage_pools, profiles, projects}; all parts may
// be absent.

/// Parses LXD's preseed YAML. Strict: unknown and repeated keys are refused, with their place.
outcome<nlohmann::json> parse_preseed(const std::string& yaml);

/// Makes what is absent and updates what differs; what is as wanted is not touched. `say` hears each change. When a
/// step fails, what this call created is deleted again.
outcome<void> apply_setup(const server& daemon, const nlohmann::json& setup,
                          const std::function<void(const std::string&)>& say);

/// What apply_setup would need to make this server again.
outcome<nlohmann::json> dump_setup(const server& daemon);

/// `wanted` laid over `present` as apply_setup does it: maps are merged; a wanted "auto" is content with any chosen
/// value.
nlohmann::json merged_object(const nlohmann::json& present, const nlohmann::json& wanted);

} // namespace troupe
