#include "actors/project_keys.hpp"

#include "actors/names.hpp"
#include "backends/image/archives.hpp"
#include "backends/instance/id_maps.hpp"
#include "net/names.hpp"

#include <algorithm>
#include <array>

namespace troupe {
namespace {

using enum value_type;

constexpr std::string_view network_subnets = "restricted.networks.subnets";

constexpr project_key rows[] = {
    {"backups.compression_algorithm", text, "", "", "", "How backups are compressed; empty: as the server says"},
    {"features.images", boolean, "false", "", "", "Has images and aliases of its own"},
    {"features.networks", boolean, "false", "", "", "Has networks of its own; bridges are of project default only"},
    {"features.profiles", boolean, "false", "", "", "Has profiles of its own"},
    {"features.storage.volumes", boolean, "false", "", "", "Has custom volumes of its own"},
    {"images.compression_algorithm", text, "", "", "",
     "How published images are compressed; empty: as the server says"},
    {"limits.containers", whole, "", "", "", "Largest number of containers"},
    {"limits.cpu", whole, "", "", "", "Largest sum of the instances' limits.cpu"},
    {"limits.disk", size, "", "", "", "Largest sum of the sizes of the instances' root disks"},
    {"limits.disk.pool.*", size, "", "", "", "The same of what lies on one pool: limits.disk.pool.POOL"},
    {"limits.instances", whole, "", "", "", "Largest number of instances"},
    {"limits.memory", size, "", "", "", "Largest sum of the instances' limits.memory"},
    {"limits.networks", whole, "", "", "", "Largest number of networks of its own"},
    {"limits.processes", whole, "", "", "", "Largest sum of the instances' limits.processes"},
    {"limits.virtual-machines", whole, "", "", "", "Largest number of virtual machines"},
    {"restricted", boolean, "false", "", "", "Whether the restricted.* keys are in force"},
    {"restricted.backups", text, "block", "block allow", "", "Backups of instances"},
    {"restricted.containers.interception", text, "block", "block allow", "full", "System call interception"},
    {"restricted.containers.lowlevel", text, "block", "block allow", "", "raw.*, linux.sysctl.* and id map sizes"},
    {"restricted.containers.nesting", text, "block", "block allow", "", "security.nesting"},
    {"restricted.containers.privilege", text, "unprivileged", "unprivileged isolated allow", "",
     "How privileged containers may be"},
    {"restricted.devices.disk", text, "managed", "managed block allow", "", "Disks besides the root disk"},
    {"restricted.devices.disk.paths", text, "", "", "", "Folders of the host that sources may lie in; empty: all"},
    {"restricted.devices.gpu", text, "block", "block allow", "", "GPU devices"},
    {"restricted.devices.infiniband", text, "block", "block", "allow", "Infiniband devices"},
    {"restricted.devices.nic", text, "managed", "managed block allow", "", "Network cards"},
    {"restricted.devices.pci", text, "block", "block", "allow", "PCI devices"},
    {"restricted.devices.proxy", text, "block", "block allow", "", "Proxy devices"},
    {"restricted.devices.unix-block", text, "block", "block allow", "", "Block devices of the host"},
    {"restricted.devices.unix-char", text, "block", "block allow", "", "Character devices of the host"},
    {"restricted.devices.unix-hotplug", text, "block", "block allow", "", "Hotplugged devices of the host"},
    {"restricted.devices.usb", text, "block", "block allow", "", "USB devices"},
    {"restricted.idmap.gid", text, "", "", "",
     "Groups of the host that raw.idmap may name (1000,2000-2010); empty: none"},
    {"restricted.idmap.uid", text, "", "", "", "Users of the host that raw.idmap may name; empty: none"},
    {"restricted.networks.access", text, "", "", "", "Networks that may be used; empty: all"},
    {network_subnets, text, "", "", "", "Subnets, as NETWORK:SUBNET, that cards may have routed to them; empty: none"},
    {"restricted.snapshots", text, "block", "block allow", "", "Snapshots"},
    {"restricted.virtual-machines.lowlevel", text, "block", "block", "allow", "raw.qemu and the like"},
    {"user.*", text, "", "", "", "Free data of the user"},
};

// Known to LXD, not built yet: a clear refusal instead of a typo's.
constexpr std::string_view later_keys[] = {"backups.", "features.", "images.", "limits.", "replica.", "restricted."};

// "lxdbr0:192.0.2.0/24, lxdbr0:2001:db8::/64"
bool are_network_subnets(std::string_view value) {
  auto words = words_of(value);
  return std::all_of(words.begin(), words.end(), [](std::string_view word) {
    auto colon = word.find(':');
    if (colon == word.npos || !is_interface_name(word.substr(0, colon))) return false;
    auto subnet = word.substr(colon + 1);
    return is_well_formed(subnets_v4, subnet) || is_well_formed(subnets_v6, subnet);
  });
}

outcome<void> check_project_value(const project_key& row, const std::string& key, const std::string& value) {
  bool good = is_well_formed(row.form, value) && (row.choices.empty() || has_word(row.choices, value)) &&
              (row.key != network_subnets || are_network_subnets(value)) &&
              (!row.key.starts_with("restricted.idmap.") || parse_id_ranges(value));
  if (has_word(row.later, row.form == boolean && is_true(value) ? "true" : std::string_view{value}))
    return fail(fault::unsupported, "\"" + value + "\" as value of \"" + key + "\" is not supported yet");
  if (!good) return fail(fault::invalid, "\"" + value + "\" is no valid value of \"" + key + "\"");
  if (row.key.ends_with(".compression_algorithm"))
    if (auto parsed = parse_compression(value); !parsed) return tl::unexpected{parsed.error()};
  return {};
}

constexpr std::array<std::string_view, 4> feature_keys = {"features.images", "features.profiles", "features.networks",
                                                          "features.storage.volumes"};

} // namespace

std::span<const project_key> project_keys() { return rows; }

const project_key* find_project_key(std::string_view key) {
  auto fits = [key](const project_key& row) {
    if (!row.key.ends_with('*')) return row.key == key;
    auto family = row.key.substr(0, row.key.size() - 1);
    return key.size() > family.size() && key.starts_with(family);
  };
  auto at = std::find_if(std::begin(rows), std::end(rows), fits);
  return at == std::end(rows) ? nullptr : at;
}

outcome<void> check_project_config(const config_map& config) {
  for (auto& [key, value] : config) {
    if (auto good = check_key(key); !good) return good;
    if (auto good = check_text(key, value); !good) return good;
    if (auto row = find_project_key(key)) {
      if (auto good = value.empty() ? outcome<void>{} : check_project_value(*row, key, value); !good) return good;
      continue;
    }
    bool known = std::any_of(std::begin(later_keys), std::end(later_keys),
                             [&, &k = key](std::string_view prefix) { return k.starts_with(prefix); });
    if (known) return fail(fault::unsupported, "Project config key \"" + key + "\" is not supported yet");
    return fail(fault::invalid, "Unknown project configuration key: " + key);
  }
  return {};
}

std::string_view project_value_of(const config_map& config, std::string_view key) {
  if (auto set = get(config, key); !set.empty()) return set;
  auto row = find_project_key(key);
  return row ? row->fallback : std::string_view{};
}

config_map project_config(const snapshot& from, std::string_view project) {
  auto record = load<schema::ProjectSpec>(from, table::projects, project);
  return record ? record->read([](auto p) { return to_map(p.getConfig()); }) : config_map{};
}

std::string home_of(const snapshot& from, std::string_view project, feature what) {
  static constexpr std::string_view shared = "default";
  if (project == shared) return std::string{shared};
  auto key = feature_keys[static_cast<size_t>(what)];
  return std::string{is_true(project_value_of(project_config(from, project), key)) ? project : shared};
}

} // namespace troupe
