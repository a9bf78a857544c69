#include "actors/found_devices.hpp"

#include "actors/device_options.hpp"
#include "backends/host/host_nodes.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr std::string_view node_key = "node:"; // no option has a colon

bool is_hex_id(std::string_view value) {
  return value.size() == 4 && std::all_of(value.begin(), value.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
         });
}

std::string lower(std::string_view text) {
  std::string out{text};
  for (auto& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

// An option that is not set fits everything.
struct wanted {
  const config_map& device;
  bool text(std::string_view option, const std::string& is) const {
    auto value = get(device, option);
    return value.empty() || lower(value) == lower(is);
  }
  bool number(std::string_view option, uint32_t is) const {
    auto value = get(device, option);
    return value.empty() || std::strtoul(std::string{value}.c_str(), nullptr, 10) == is;
  }
};

bool fits(const config_map& device, const host_node& node) {
  wanted want{device};
  return want.text("vendorid", node.vendor) && want.text("productid", node.product) &&
         want.text("serial", node.serial) && want.text("subsystem", node.subsystem) && want.text("pci", node.pci) &&
         want.number("busnum", node.bus) && want.number("devnum", node.number) && want.number("id", node.card);
}

std::vector<host_node> nodes_of_kind(std::string_view type) {
  if (type == "usb") return usb_nodes();
  return type == "gpu" ? gpu_nodes() : usb_children();
}

uint32_t number(const config_map& device, std::string_view option, int base = 10) {
  return static_cast<uint32_t>(std::strtoul(std::string{option_of(device, option)}.c_str(), nullptr, base));
}

} // namespace

bool is_found(const config_map& device) {
  auto type = get(device, "type");
  return type == "usb" || type == "unix-hotplug" || type == "gpu";
}

std::string fault_of_found(std::string_view kind, const config_map& device) {
  for (auto option : {"vendorid", "productid"})
    if (auto value = get(device, option); !value.empty() && !is_hex_id(value))
      return "\"" + std::string{option} + "\" must be four hexadecimal digits";
  auto has = [&](std::string_view option) { return !get(device, option).empty(); };
  if (kind == "unix-hotplug" && !has("vendorid") && !has("productid") && !has("subsystem"))
    return "it needs a \"vendorid\", a \"productid\" or a \"subsystem\"";
  if (kind == "gpu" && has("pci") && (has("id") || has("vendorid") || has("productid")))
    return "\"pci\" excludes \"id\", \"vendorid\" and \"productid\"";
  return {};
}

outcome<std::vector<node_plan>> find_nodes(const std::string& name, const config_map& device) {
  auto type = get(device, "type");
  std::vector<node_plan> out;
  for (auto& node : nodes_of_kind(type)) {
    if (!fits(device, node)) continue;
    node_plan plan{name, node.path, node.type, node.major, node.minor};
    plan.mode = number(device, "mode", 8);
    plan.uid = number(device, "uid");
    plan.gid = number(device, "gid");
    out.push_back(std::move(plan));
  }
  bool needed = type == "gpu" || is_true(option_of(device, "required"));
  if (out.empty() && needed)
    return fail(fault::invalid, "Device \"" + name + "\": the host has no such " + std::string{type} + " device");
  return out;
}

void remember_nodes(config_map& device, const std::vector<node_plan>& nodes) {
  std::erase_if(device, [](auto& entry) { return entry.first.starts_with(node_key); });
  for (auto& node : nodes)
    device[std::string{node_key} + node.path] = std::string{node.type} + " " + std::to_string(node.major) + " " +
                                                std::to_string(node.minor) + " " + std::to_string(node.mode) + " " +
                                                std::to_string(node.uid) + " " + std::to_string(node.gid);
}

std::vector<node_plan> remembered_nodes(const std::string& name, const config_map& device) {
  std::vector<node_plan> out;
  for (auto& [key, value] : device) {
    node_plan plan;
    if (!key.starts_with(node_key) || std::sscanf(value.c_str(), "%c %u %u %u %u %u", &plan.type, &plan.major,
                                                  &plan.minor, &plan.mode, &plan.uid, &plan.gid) != 6)
      continue;
    plan.device = name;
    plan.path = key.substr(node_key.size());
    out.push_back(std::move(plan));
  }
  return out;
}

device_map without_nodes(device_map devices) {
  for (auto& [name, device] : devices)
    std::erase_if(device, [](auto& entry) { return entry.first.starts_with(node_key); });
  return devices;
}

} // namespace troupe
