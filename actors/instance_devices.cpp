#include "actors/instance_devices.hpp"

#include "actors/device_options.hpp"
#include "actors/found_devices.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "backends/storage/size.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace troupe {
namespace {

// The folder that a tenant's source must stay in, if its project names some.
std::string folder_of(std::string_view source, const config_map& rules) {
  if (!is_true(project_value_of(rules, "restricted"))) return {};
  std::string best;
  auto list = project_value_of(rules, "restricted.devices.disk.paths");
  for (auto& folder : list.empty() ? std::vector<std::string>{} : words_of(list)) {
    while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
    bool within = source == folder || (source.starts_with(folder) && source[folder.size()] == '/');
    if (within && folder.size() > best.size()) best = folder;
  }
  return best;
}

std::string source_of(const config_map& device, const disk_places& places) {
  std::string source{get(device, "source")}, pool{get(device, "pool")};
  if (pool.empty()) return source == "tmpfs:" ? "" : source;
  return places.pools + '/' + pool + "/custom/" + places.volumes + '_' + source;
}

mount_plan mount_of(const std::string& name, const config_map& device, const disk_places& places) {
  mount_plan plan;
  plan.device = name;
  bool tmpfs = get(device, "source") == "tmpfs:", volume = !get(device, "pool").empty();
  plan.source = source_of(device, places);
  if (!volume) plan.beneath = folder_of(plan.source, places.rules);
  plan.path = get(device, "path");
  if (auto size = parse_size(get(device, "size")); tmpfs && size) plan.options = std::to_string(*size);
  plan.propagation = option_of(device, "propagation");
  plan.readonly = is_true(get(device, "readonly"));
  plan.recursive = is_true(get(device, "recursive"));
  plan.shift = volume || is_true(get(device, "shift"));
  plan.required = is_true(option_of(device, "required"));
  return plan;
}

uint32_t number(const config_map& device, std::string_view option, int base = 10) {
  return static_cast<uint32_t>(std::strtoul(std::string{option_of(device, option)}.c_str(), nullptr, base));
}

void add_rate(const config_map& device, std::string_view option, uint64_t& bytes, uint64_t& operations) {
  auto own = get(device, option), rate = own.empty() ? get(device, "limits.max") : own;
  if (rate.ends_with("iops"))
    operations = std::strtoull(std::string{rate}.c_str(), nullptr, 10);
  else if (auto size = parse_size(rate))
    bytes = *size;
}

} // namespace

disk_places disk_places_of(const services& with, const snapshot& records, std::string_view project) {
  return {project_config(records, project), with.dir.storage_pools, home_of(records, project, feature::volumes)};
}

std::vector<mount_plan> mounts_of(const expansion& effective, const disk_places& places) {
  std::vector<mount_plan> out;
  for (auto& [name, device] : effective.devices)
    if (get(device, "type") == "disk" && !is_root(device)) out.push_back(mount_of(name, device, places));
  // What lies in another comes behind it.
  std::sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.path < b.path; });
  return out;
}

std::vector<drive_plan> drives_of(const expansion& effective, const disk_places& places, const std::string& volume) {
  std::vector<drive_plan> out;
  for (auto& [name, device] : effective.devices) {
    if (get(device, "type") != "disk") continue;
    drive_plan plan;
    plan.device = name;
    plan.file = is_root(device) ? volume + "/root.img" : std::string{get(device, "source")};
    if (!is_root(device)) plan.beneath = folder_of(plan.file, places.rules);
    if (plan.file.ends_with(".iso")) plan.kind = drive_kind::cdrom;
    plan.readonly = is_true(get(device, "readonly")) || plan.kind == drive_kind::cdrom;
    plan.bus = option_of(device, "io.bus");
    plan.cache = option_of(device, "io.cache");
    plan.boot_priority = static_cast<int>(number(device, "boot.priority"));
    add_rate(device, "limits.read", plan.read_bytes, plan.read_ops);
    add_rate(device, "limits.write", plan.write_bytes, plan.write_ops);
    out.push_back(std::move(plan));
  }
  return out;
}

outcome<std::optional<node_plan>> node_of(const std::string& name, const config_map& device) {
  node_plan plan;
  plan.device = name;
  plan.type = get(device, "type") == "unix-block" ? 'b' : 'c';
  auto own = get(device, "path"), source = get(device, "source");
  plan.path = own.empty() ? source : own;
  plan.mode = number(device, "mode", 8);
  plan.uid = number(device, "uid");
  plan.gid = number(device, "gid");
  if (!get(device, "major").empty()) {
    plan.major = number(device, "major");
    plan.minor = number(device, "minor");
    return plan;
  }
  struct stat info {};
  std::string node{source.empty() ? own : source};
  bool there = stat(node.c_str(), &info) == 0 && (plan.type == 'b' ? S_ISBLK(info.st_mode) : S_ISCHR(info.st_mode));
  if (!there && !is_true(option_of(device, "required"))) return std::nullopt;
  if (!there)
    return fail(fault::invalid, "Device \"" + name + "\": the host has no " +
                                    (plan.type == 'b' ? "block" : "character") + " device " + node);
  plan.major = major(info.st_rdev);
  plan.minor = minor(info.st_rdev);
  return plan;
}

outcome<std::vector<node_plan>> nodes_of(expansion& effective) {
  std::vector<node_plan> out;
  for (auto& [name, device] : effective.devices) {
    if (is_found(device)) {
      auto nodes = find_nodes(name, device);
      if (!nodes) return tl::unexpected{nodes.error()};
      remember_nodes(device, *nodes);
      out.insert(out.end(), nodes->begin(), nodes->end());
      continue;
    }
    if (!get(device, "type").starts_with("unix-")) continue;
    auto node = node_of(name, device);
    if (!node) return tl::unexpected{node.error()};
    if (*node) out.push_back(std::move(**node));
  }
  return out;
}

std::vector<disk_limit> disk_limits_of(const expansion& effective, const std::string& root_path,
                                       const disk_places& places) {
  std::vector<disk_limit> out;
  for (auto& [name, device] : effective.devices) {
    if (get(device, "type") != "disk" || get(device, "source") == "tmpfs:") continue;
    disk_limit limit;
    limit.path = is_root(device) ? root_path : source_of(device, places);
    add_rate(device, "limits.read", limit.read_bytes, limit.read_ops);
    add_rate(device, "limits.write", limit.write_bytes, limit.write_ops);
    out.push_back(std::move(limit));
  }
  return out;
}

std::vector<nat_rule> nats_of(const expansion& effective) {
  std::vector<nat_rule> out;
  for (auto& [name, device] : effective.devices) {
    if (get(device, "type") != "proxy" || !is_true(get(device, "nat"))) continue;
    auto listen = parse_endpoint(get(device, "listen")), connect = parse_endpoint(get(device, "connect"));
    if (listen && connect) out.push_back({std::move(*listen), std::move(*connect)});
  }
  return out;
}

namespace {

std::vector<nic_rules> nic_rules_of(const expansion& effective) {
  std::vector<nic_rules> out;
  for (auto& nic : nics_of(effective))
    if (auto rules = rules_of(nic); rules.any()) out.push_back(std::move(rules));
  return out;
}

} // namespace

bool has_rules(const expansion& effective) { return !nats_of(effective).empty() || !nic_rules_of(effective).empty(); }

outcome<void> apply_rules_of(const expansion& effective, const std::string& table) {
  return apply_rules(table, nic_rules_of(effective), nats_of(effective));
}

} // namespace troupe
