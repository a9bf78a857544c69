#pragma once

#include "backends/instance/id_maps.hpp"
#include "backends/instance/instance_driver.hpp"

#include <string>
#include <utility>
#include <vector>

namespace troupe::lxc {

/// What the configuration depends on besides the plan; read once per driver.
struct host_facts {
  bool unified_cgroups = false; // v2 only: limits are lxc.cgroup2.*
  bool apparmor = false;
  bool fuse = false, tun = false;      // /dev/fuse, /dev/net/tun exist
  std::vector<int> cpus;               // online, for limits.cpu as a count
  std::vector<int> nodes;              // NUMA nodes
  uint64_t memory = 0;                 // bytes, for limits in percent
  bool swap_accounting = false;        // v1: memory and swap can be limited together
  std::string disk_weight;             // the file that weighs disk I/O; empty: the kernel cannot
  std::vector<std::string> huge_pages; // sizes that can be limited: "2MB"
  std::string cgroup_prefix;           // unique per daemon
  std::string seccomp_deny;            // file of the default policy
  std::string seccomp_deny_nesting;    // the same for security.nesting
  std::string syscalls;                // socket of who does system calls; empty: the kernel tells of none
};
host_facts read_host();

/// liblxc's keys in order; a repeated key is a list.
using settings = std::vector<std::pair<std::string, std::string>>;

/// The whole configuration but for the root file system, which the helper assembles. Nothing of the distribution's
/// defaults is included. `invalid` when a limit cannot be read.
outcome<settings> make_settings(const boot_plan& plan, const id_maps& maps, const host_facts& host);

/// The default system call policy in liblxc's format.
std::string seccomp_policy(bool nesting);
/// The policy that the configuration asks for; empty: the default one, or none.
std::string plan_policy(const config_map& config);
/// Lines of it: system calls that wait for troupe-syscalls.
std::string notified_calls(const config_map& config);
/// Where an instance's own policy is.
std::string policy_file(const host_facts& host, const std::string& key);

/// A node as the device controller writes it: "c 10:229 rwm".
std::string device_rule(const node_plan& node);
/// Every container may use it.
bool is_allowed_anyway(const node_plan& node);

/// "512MiB", "1GB", "50%" (of `whole`) as bytes.
outcome<uint64_t> parse_size(std::string_view text, uint64_t whole);
/// "0-2,5" as {0, 1, 2, 5}; empty when malformed.
std::vector<int> parse_cpu_list(std::string_view text);

} // namespace troupe::lxc
