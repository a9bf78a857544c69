#include "actors/policy.hpp"

#include "actors/device_options.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "backends/instance/id_maps.hpp"
#include "net/cidr.hpp"

#include <algorithm>

namespace troupe {
namespace {

struct judged {
  std::string_view project;
  const config_map& rules;
  const expansion& effective;

  std::string_view rule(std::string_view key) const { return project_value_of(rules, key); }
};

tl::unexpected<error> refuse(const judged& what, const std::string& subject, std::string_view rule) {
  auto sentence = subject + " is not allowed in project \"" + std::string{what.project} + '"';
  if (!rule.empty()) sentence += " (" + std::string{rule} + "=" + std::string{what.rule(rule)} + ')';
  return fail(fault::forbidden, std::move(sentence));
}

// Its value is what an instance without the key has.
bool has_no_effect(const key_row& row, std::string_view value) {
  if (value.empty()) return true;
  return row.type == value_type::boolean ? is_true(value) == is_true(row.fallback) : value == row.fallback;
}

outcome<void> judge_key(const judged& what, const std::string& key, const std::string& value) {
  auto row = find_instance_key(key);
  if (!row) return refuse(what, "Config key \"" + key + '"', {});
  if (row->tenant_safe || row->key == "security.privileged" || has_no_effect(*row, value)) return {};
  if (row->rule.empty()) return refuse(what, "Config key \"" + key + '"', {});
  if (what.rule(row->rule) == "allow") return {};
  if (key == "raw.idmap" && !leaves_ranges(value, what.rule("restricted.idmap.uid"), what.rule("restricted.idmap.gid")))
    return {};
  return refuse(what, "Config key \"" + key + '"', row->rule);
}

outcome<void> judge_privilege(const judged& what) {
  constexpr std::string_view rule = "restricted.containers.privilege";
  auto most = what.rule(rule);
  if (most == "allow") return {};
  if (is_true(get(what.effective.config, "security.privileged"))) return refuse(what, "A privileged container", rule);
  if (most == "isolated" && !is_true(get(what.effective.config, "security.idmap.isolated")))
    return refuse(what, "A container without \"security.idmap.isolated\"", rule);
  return {};
}

bool is_granted(std::string_view list, std::string_view network, std::string_view route) {
  auto wanted = parse_cidr(route);
  for (auto& grant : words_of(list)) {
    auto colon = grant.find(':');
    auto subnet = parse_cidr(std::string_view{grant}.substr(colon + 1));
    if (wanted && subnet && grant.substr(0, colon) == network && contains(*subnet, *wanted)) return true;
  }
  return false;
}

// A route is the whole host's: it takes packets from whoever else has that subnet.
outcome<void> judge_routes(const judged& what, const std::string& name, const config_map& device) {
  constexpr std::string_view rule = "restricted.networks.subnets";
  auto list = what.rule(rule);
  if (list.empty() && what.rule("restricted.devices.nic") == "allow") return {};
  for (auto option : {"ipv4.routes", "ipv6.routes"})
    for (auto& route : words_of(get(device, option)))
      if (!is_granted(list, get(device, "network"), route))
        return refuse(what, "The route to " + route + " of device \"" + name + '"', rule);
  return {};
}

outcome<void> judge_nic(const judged& what, const std::string& name, const config_map& device) {
  constexpr std::string_view rule = "restricted.devices.nic", access = "restricted.networks.access";
  auto may = what.rule(rule);
  auto network = get(device, "network"), used = network.empty() ? get(device, "parent") : network;
  if (may == "block" || (may == "managed" && network.empty())) return refuse(what, "Device \"" + name + '"', rule);
  // A name on the host may be somebody's: only who may use every link of the host chooses it.
  // The same holds for VLANs, which keep others apart.
  for (auto option : {"host_name", "vlan", "vlan.tagged"})
    if (may != "allow" && !get(device, option).empty())
      return refuse(what, "Option \"" + std::string{option} + "\" of device \"" + name + '"', rule);
  if (auto good = judge_routes(what, name, device); !good) return good;
  auto list = what.rule(access);
  auto names = words_of(list);
  if (list.empty() || std::find(names.begin(), names.end(), used) != names.end()) return {};
  return refuse(what, "Network \"" + std::string{used} + "\" of device \"" + name + '"', access);
}

bool is_below(std::string_view path, std::string_view folder) {
  while (folder.ends_with('/')) folder.remove_suffix(1);
  return path == folder || (path.starts_with(folder) && path[folder.size()] == '/');
}

// A root disk is always on a managed pool. A tmpfs is no path of the host's.
outcome<void> judge_disk(const judged& what, const std::string& name, const config_map& device) {
  constexpr std::string_view rule = "restricted.devices.disk", paths = "restricted.devices.disk.paths";
  if (get(device, "path") == "/" && !get(device, "pool").empty()) return {};
  auto may = what.rule(rule);
  bool is_volume = !get(device, "pool").empty();
  if (is_volume && may == "managed") return {};
  if (may != "allow") return refuse(what, "Device \"" + name + '"', rule);
  auto list = what.rule(paths);
  if (list.empty() || !get(device, "source").starts_with('/')) return {};
  for (auto& folder : words_of(list))
    if (is_below(get(device, "source"), folder)) return {};
  return refuse(what, "The source of device \"" + name + '"', paths);
}

outcome<void> judge_device(const judged& what, const std::string& name, const config_map& device) {
  auto type = get(device, "type");
  if (type == "disk") return judge_disk(what, name, device);
  if (type == "nic") return judge_nic(what, name, device);
  auto kind = kind_of(device);
  if (!kind) return refuse(what, "Device \"" + name + '"', {});
  if (kind->rule.empty() || what.rule(kind->rule) == "allow") return {};
  return refuse(what, "Device \"" + name + '"', kind->rule);
}

} // namespace

outcome<void> judge(std::string_view project, const config_map& project_config, const expansion& effective) {
  if (!is_true(project_value_of(project_config, "restricted"))) return {};
  judged what{project, project_config, effective};
  for (auto& [key, value] : effective.config)
    if (auto good = judge_key(what, key, value); !good) return good;
  if (auto good = judge_privilege(what); !good) return good;
  for (auto& [name, device] : effective.devices)
    if (auto good = judge_device(what, name, device); !good) return good;
  return {};
}

bool differ_by_rule(const expansion& before, const expansion& after) {
  auto is_judged = [](std::string_view key) {
    auto row = find_instance_key(key);
    return !row || !row->tenant_safe || key.starts_with("limits.") || key.starts_with("security.");
  };
  auto judged_part = [&](const config_map& config) {
    config_map out;
    for (auto& [key, value] : config)
      if (is_judged(key)) out.emplace(key, value);
    return out;
  };
  return before.devices != after.devices || judged_part(before.config) != judged_part(after.config);
}

} // namespace troupe
