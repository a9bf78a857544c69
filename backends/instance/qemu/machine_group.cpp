#include "backends/instance/qemu/machine_group.hpp"

#include "backends/instance/lxc/cgroup_names.hpp"
#include "backends/instance/lxc/lxc_limits.hpp"
#include "backends/instance/lxc/proc_facts.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace troupe::qemu {
namespace {

bool put(const std::string& path, const std::string& value) {
  unique_fd fd{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  return fd && ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

/// What a group of this hierarchy needs before processes may be in it or in one below.
void prepare(const lxc::cgroup_place& place, const std::string& parent, const std::string& group) {
  if (place.controllers.empty()) // v2: what the parent does not hand down is not there
    for (const char* controller : {"+cpu", "+cpuset", "+io", "+memory", "+pids"})
      put(parent + "/cgroup.subtree_control", controller);
  if (place.controllers.find(",cpuset,") == std::string::npos) return;
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) // v1: empty at first
    if (lxc::read_small(group + file).size() <= 1) put(group + file, lxc::read_small(parent + file));
}

outcome<void> make_group(const lxc::cgroup_place& place, const std::string& parent, const std::string& group) {
  if (::mkdir(group.c_str(), 0755) < 0 && errno != EEXIST) return fail_errno(errno, "Cannot make " + group);
  prepare(place, parent, group);
  return {};
}

} // namespace

outcome<std::vector<std::string>> make_groups(const std::string& prefix, const std::string& key) {
  std::vector<std::string> made;
  for (auto& place : lxc::read_cgroups("1")) {
    auto base = place.directory;
    constexpr std::string_view own = "/init.scope"; // systemd's own leaf
    if (base.ends_with(own)) base.resize(base.size() - own.size());
    auto daemon = base + "/" + prefix, group = base + "/" + lxc::payload_cgroup(prefix, key);
    if (auto done = make_group(place, base, daemon); !done) return tl::unexpected{done.error()};
    if (auto done = make_group(place, daemon, group); !done) return tl::unexpected{done.error()};
    made.push_back(group);
  }
  return made;
}

outcome<void> limit_group_of(const lxc::cgroup_tree& groups, const std::string& key, const config_map& config,
                             const lxc::host_facts& host, const machine_cpus& cpus) {
  config_map shares;
  for (const char* name : {"limits.cpu.allowance", "limits.cpu.priority", "limits.cpu.nodes", "limits.disk.priority"})
    if (auto value = get(config, name); !value.empty()) shares.emplace(name, value);
  if (!cpus.pinned.empty()) shares.emplace("limits.cpu", cpus.pinned); // as a number it is what the machine has
  auto limits = lxc::limits_of(shares, key, host);
  if (!limits) return tl::unexpected{limits.error()};
  return lxc::write_limits(groups, key, *limits);
}

} // namespace troupe::qemu
