#include "actors/instance_kinds.hpp"

#include "actors/device_options.hpp"

#include <algorithm>
#include <span>

namespace troupe {
namespace {

using enum schema::InstanceType;

// Keys that one kind of instance has; a trailing '*' stands for any suffix. All others both have.
constexpr std::string_view containers_keys[] = {
    "limits.cpu.allowance",
    "limits.cpu.nodes",
    "limits.cpu.priority",
    "limits.disk.priority",
    "limits.hugepages.*",
    "limits.kernel.*",
    "limits.memory.enforce",
    "limits.memory.swap*",
    "limits.processes",
    "linux.*",
    "nvidia.*",
    "raw.idmap",
    "raw.lxc",
    "raw.seccomp",
    "security.devlxd.images",
    "security.idmap.*",
    "security.nesting",
    "security.privileged",
    "security.protection.shift",
    "security.syscalls.*",
};
constexpr std::string_view machines_keys[] = {
    "agent.nic_config",
    "boot.debug_edk2",
    "boot.mode",
    "limits.cpu.pin_strategy",
    "limits.max_bus_ports",
    "limits.memory.hotplug",
    "limits.memory.hugepages",
    "raw.qemu*",
    "security.agent.metrics",
    "security.csm",
    "security.iommu",
    "security.secureboot",
    "security.sev*",
    "smbios11.*",
};

// Kinds of devices that virtual machines have, and the options that one kind of instance has.
constexpr std::string_view machines_devices = "none disk nic-bridged",
                           containers_options = "propagation recursive shift",
                           machines_options = "boot.priority io.bus io.cache";

bool has(std::span<const std::string_view> patterns, std::string_view key) {
  return std::any_of(patterns.begin(), patterns.end(), [key](std::string_view pattern) {
    if (!pattern.ends_with('*')) return pattern == key;
    return key.starts_with(pattern.substr(0, pattern.size() - 1));
  });
}

tl::unexpected<error> only(std::string_view what, schema::InstanceType has_it) {
  return fail(fault::invalid,
              std::string{what} + " is for " + (has_it == CONTAINER ? "containers only" : "virtual machines only"));
}

outcome<void> check_disk(schema::InstanceType type, const std::string& name, const config_map& device) {
  if (is_root(device)) return {};
  auto whose = "Device \"" + name + '"';
  if (type == CONTAINER)
    return get(device, "path").empty() ? fail(fault::invalid, whose + ": \"path\" is required") : outcome<void>{};
  if (!get(device, "pool").empty())
    return fail(fault::unsupported, whose + ": volumes cannot be shared with virtual machines yet");
  if (!get(device, "source").starts_with('/'))
    return fail(fault::unsupported, whose + ": the disk of a virtual machine is a file or a block device of the host");
  return {};
}

outcome<void> check_device(schema::InstanceType type, const std::string& name, const config_map& device) {
  auto whose = "Device \"" + name + '"';
  auto kind = kind_of(device);
  if (kind && type == VIRTUAL_MACHINE && !has_word(machines_devices, kind->kind))
    return fail(fault::unsupported, whose + ": " + std::string{kind->kind} + " is not there for virtual machines yet");
  for (auto& [option, value] : device) {
    if (value.empty()) continue;
    auto where = whose + ": option \"" + option + '"';
    if (type == VIRTUAL_MACHINE && has_word(containers_options, option)) return only(where, CONTAINER);
    if (type == CONTAINER && has_word(machines_options, option)) return only(where, VIRTUAL_MACHINE);
  }
  return get(device, "type") == "disk" ? check_disk(type, name, device) : outcome<void>{};
}

} // namespace

outcome<void> check_kind(schema::InstanceType type, const expansion& effective) {
  for (auto& [key, value] : effective.config) {
    if (value.empty()) continue;
    auto what = "Config key \"" + key + '"';
    if (type == VIRTUAL_MACHINE && has(containers_keys, key)) return only(what, CONTAINER);
    if (type == CONTAINER && has(machines_keys, key)) return only(what, VIRTUAL_MACHINE);
  }
  for (auto& [name, device] : effective.devices)
    if (auto good = check_device(type, name, device); !good) return good;
  return {};
}

std::string_view kind_with(std::string_view key) {
  if (has(containers_keys, key)) return "containers";
  return has(machines_keys, key) ? "virtual machines" : "";
}

std::string size_of_root(const expansion& effective) {
  auto root = root_disk(effective.devices);
  return root ? std::string{get(*root, "size")} : std::string{};
}

} // namespace troupe
