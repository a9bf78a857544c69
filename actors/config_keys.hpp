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
enum class value_type : uint8_t {
  text,
  boolean,
  whole,
  size,
  memory,
  cpus,
  allowance,
  lines,
  line,    // text without a line break
  integer, // with a sign
  level,   // 0 to 10
  rlimit,  // 1024, 1024:4096, unlimited
  names,   // a,b,c: letters, digits, dashes and underscores
  hwaddr,  // 00:16:3e:aa:bb:cc
  link,    // name of a network interface
  mtu,     // 68 to 65535
  ipv4,    // one address
  ipv6,
  ipv4_list, // of addresses
  ipv6_list,
  subnets_v4, // a list of subnets
  subnets_v6,
  bits,       // a rate: 10Mbit
  disk_io,    // a rate: 10MB, 100iops
  mode,       // 0660
  path,       // absolute
  endpoint,   // tcp:127.0.0.1:80
  span,       // of a snapshot's life
  times,      // when snapshots are made
  pattern,    // of snapshots' names
  idmap,      // lines like "both 1000 1000"
  vlan,       // 1 to 4094
  vlans,      // a list of them, and of ranges
  ipv4_hosts, // addresses, with a prefix length or without
  ipv6_hosts,
};
bool is_well_formed(value_type type, std::string_view value);
/// For a person: "a size".
std::string_view describe(value_type type);
/// Of any configuration: at most 255 characters, no spaces and control characters.
outcome<void> check_key(std::string_view key);
/// When a change of a running instance takes effect.
enum class applies : uint8_t {
  at_once,    // nothing to do, or done as it is read
  at_restart, // accepted, in force from the next start
  stopped,    // refused while it runs
  replug,     // of a device: it is taken out and put in again
};

/// One row per config key of an instance; validation, docs and the metadata endpoint come from it.
struct key_row {
  std::string_view key; // a trailing '*' stands for any suffix
  value_type type;
  std::string_view fallback; // shown as default
  applies when;
  bool tenant_safe; // may be set in a restricted project
  std::string_view meaning;
  std::string_view rule = {};    // project key that opens it to tenants when it says "allow"
  std::string_view choices = {}; // "hard soft": the only values
  std::string_view refused = {}; // why it cannot be set, after "because"; empty: it works
};

/// The table, sorted by key: every key that LXD has. Its rows are in instance_keys.cpp.
std::span<const key_row> instance_keys();
const key_row* find_instance_key(std::string_view key);

/// Every key known and every value well-formed. A key that LXD knows and we do not build yet is `unsupported`.
outcome<void> check_instance_config(const config_map& config);
/// Device types and their options, by the tables of device_options.hpp.
outcome<void> check_devices(const device_map& devices);
/// A value of that form, and one of the choices if there are any.
outcome<void> check_value(std::string_view key, std::string_view value, value_type type, std::string_view choices);
/// Is `word` one of these, which stand with spaces between them?
bool has_word(std::string_view words, std::string_view word);
/// The expanded result must make sense: a root disk on an existing pool, nics on existing networks, disks of existing
/// volumes (of the project's).
outcome<void> check_expanded(const snapshot& from, std::string_view project, schema::InstanceType type,
                             const expansion& effective);
/// May this change be made to a running instance?
outcome<void> check_running_change(const expansion& before, const expansion& after);

/// The keys of a change that a running instance sees at its next start only.
std::vector<std::string> changes_at_restart(const expansion& before, const expansion& after);

/// Server config (PUT /1.0).
outcome<void> check_server_config(const config_map& config);

} // namespace troupe
