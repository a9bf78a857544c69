#pragma once

#include "actors/records.hpp"
#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// How a value must look.
enum class value_type : uint8_t { text, boolean, whole, size, memory, cpus, allowance, lines, span, times, pattern };
bool is_well_formed(value_type type, std::string_view value);
/// Of any configuration: at most 255 characters, no spaces and control characters.
outcome<void> check_key(std::string_view key);
/// When a change of a running instance takes effect.
enum class applies : uint8_t {
  at_once,    // nothing to do, or done as it is read
  at_restart, // accepted, in force from the next start
  stopped,    // refused while it runs
};

/// One row per config key of an instance; validation, docs and the metadata endpoint come from it.
struct key_row {
  std::string_view key; // a trailing '*' stands for any suffix
  value_type type;
  std::string_view fallback; // shown as default
  applies when;
  bool tenant_safe; // may be set in a restricted project
  std::string_view meaning;
};

/// The table, sorted by key.
std::span<const key_row> instance_keys();
const key_row* find_instance_key(std::string_view key);

/// Every key known and every value well-formed. A key that LXD knows and we do not build yet is `unsupported`.
outcome<void> check_instance_config(const config_map& config);
/// Device types and their keys.
outcome<void> check_devices(const device_map& devices);
/// The expanded result must make sense: a root disk on an existing pool, nics on existing networks.
outcome<void> check_expanded(const snapshot& from, const expansion& effective);
/// May this change be made to a running instance?
outcome<void> check_running_change(const expansion& before, const expansion& after);

/// The keys of a change that a running instance sees at its next start only.
std::vector<std::string> changes_at_restart(const expansion& before, const expansion& after);

/// Server config (PUT /1.0).
outcome<void> check_server_config(const config_map& config);

} // namespace troupe
