#pragma once

#include "actors/config_keys.hpp"

namespace troupe {

/// What a device is: its type, and of a nic also what it is connected by ("nic-bridged").
struct device_kind {
  std::string_view kind;
  std::string_view rule; // project key that a restricted project must set to "allow"; empty: always allowed
  std::string_view meaning;
  std::string_view refused = {}; // why there is no such device; empty: it works
};
std::span<const device_kind> device_kinds();
/// By its "type", "nictype" and "network"; nullptr: LXD has no such device either.
const device_kind* kind_of(const config_map& device);

/// One row per option; validation, live changes and docs come from it.
struct device_option {
  std::string_view kinds; // "disk", "nic-bridged nic-p2p": those that have it
  std::string_view option;
  value_type form;
  std::string_view fallback;
  bool required;
  applies when; // at_once or replug; of what runs
  std::string_view meaning;
  std::string_view choices = {};
  std::string_view refused = {};
};
std::span<const device_option> device_options();
const device_option* find_option(std::string_view kind, std::string_view option);
/// What is set, else the option's default.
std::string_view option_of(const config_map& device, std::string_view option);

/// May the devices of a running instance change like this? Its root disk cannot go.
outcome<void> check_live_devices(const device_map& before, const device_map& after);

/// How one device gets from one config to another while the instance runs.
enum class device_change : uint8_t { none, in_place, replug };
device_change compare_device(const config_map& before, const config_map& after);

} // namespace troupe
