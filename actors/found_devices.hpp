#pragma once

#include "actors/config_keys.hpp"
#include "backends/instance/instance_driver.hpp"

#include <string>
#include <vector>

namespace troupe {

// Devices that stand for what the host has of a kind at the moment: usb, unix-hotplug, gpu. What a running instance has
// got for them is kept in its status, beside the device's options, so that it can be taken away when the host has it no
// more.

bool is_found(const config_map& device);
/// The combination of its options; a sentence, empty if they are good.
std::string fault_of_found(std::string_view kind, const config_map& device);
/// What the host has for it now. invalid: it needs some, and there is none. Blocks.
outcome<std::vector<node_plan>> find_nodes(const std::string& name, const config_map& device);

void remember_nodes(config_map& device, const std::vector<node_plan>& nodes);
std::vector<node_plan> remembered_nodes(const std::string& name, const config_map& device);
/// The options alone.
device_map without_nodes(device_map devices);

} // namespace troupe
