#include "backends/instance/lxc/lxc_config.hpp"

#include "backends/instance/lxc/cgroup_names.hpp"
#include "backends/instance/lxc/lxc_limits.hpp"
#include "backends/instance/lxc/proc_facts.hpp"

#include <algorithm>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

struct item {
  std::string_view key, value;
};

/// For every container.
constexpr item common[] = {
    {"lxc.log.level", "error"},
    {"lxc.init.cmd", "/sbin/init"},
    {"lxc.console.buffer.size",
     "32KB"}, // what liblxc sends at once: it takes a longer answer in parts for a broken one
    {"lxc.console.path", ""},
    {"lxc.tty.max", "0"},
    {"lxc.pty.max", "1024"},
    {"lxc.autodev", "1"},
    {"lxc.signal.halt", "SIGPWR"},
    {"lxc.mount.entry", "mqueue dev/mqueue mqueue rw,relatime,create=dir,optional 0 0"},
};

/// Views of the host's kernel that programs look for; read-only in effect because their owner is not mapped.
constexpr std::string_view kernel_views[] = {
    "/proc/sys/fs/binfmt_misc", "/sys/fs/fuse/connections", "/sys/fs/pstore",      "/sys/kernel/config",
    "/sys/kernel/debug",        "/sys/kernel/security",     "/sys/kernel/tracing",
};

/// What a container may do with devices: make any node, use only these.
constexpr std::string_view allowed_devices[] = {
    "b *:* m",   "c *:* m",   "c 1:3 rwm", "c 1:5 rwm",   "c 1:7 rwm",    "c 1:8 rwm",    "c 1:9 rwm",
    "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:229 rwm", "c 10:200 rwm",
};

void add_devices(settings& out, const boot_plan& plan, const host_facts& host) {
  std::string prefix = host.unified_cgroups ? "lxc.cgroup2.devices." : "lxc.cgroup.devices.";
  out.emplace_back(prefix + "deny", "a");
  for (auto rule : allowed_devices) out.emplace_back(prefix + "allow", rule);
  for (auto& node : plan.nodes) out.emplace_back(prefix + "allow", device_rule(node));
}

/// Spaces end a field of a line of fstab.
std::string in_fstab(const std::string& path) {
  std::string out;
  for (char c : path) c == ' ' ? out += "\\040" : out += c;
  return out;
}

void add_mounts(settings& out, const boot_plan& plan, const host_facts& host) {
  bool privileged = plan.ids.size == 0;
  // In a user namespace the kernel itself protects /proc/sys and /sys, and services (sysctl, udev) expect to write.
  out.emplace_back("lxc.mount.auto",
                   privileged ? "proc:mixed sys:mixed cgroup:mixed:force" : "proc:rw sys:mixed cgroup:rw:force");
  if (host.fuse) out.emplace_back("lxc.mount.entry", "/dev/fuse dev/fuse none bind,create=file,optional 0 0");
  if (host.tun) out.emplace_back("lxc.mount.entry", "/dev/net/tun dev/net/tun none bind,create=file,optional 0 0");
  if (!plan.guest_dir.empty())
    out.emplace_back("lxc.mount.entry", in_fstab(plan.guest_dir) + " dev/lxd none bind,ro,nosuid,nodev,create=dir 0 0");
  for (auto path : kernel_views)
    if (::access(std::string{path}.c_str(), F_OK) == 0)
      out.emplace_back("lxc.mount.entry",
                       std::string{path} + " " + std::string{path.substr(1)} + " none rbind,create=dir,optional 0 0");
  if (!is_true(get(plan.config, "security.nesting"))) return;
  // A nested runtime mounts its own proc and sysfs, which the kernel allows only where unobstructed ones are visible.
  out.emplace_back("lxc.mount.entry", "proc dev/.lxc/proc proc create=dir,optional 0 0");
  out.emplace_back("lxc.mount.entry", "sysfs dev/.lxc/sys sysfs create=dir,optional 0 0");
}

void add_map(settings& out, const char* whose, const std::string& map) {
  for (size_t at = 0; at < map.size();) {
    auto end = map.find('\n', at);
    out.emplace_back("lxc.idmap", whose + map.substr(at, end - at));
    at = end + 1;
  }
}

void add_security(settings& out, const boot_plan& plan, const id_maps& maps, const host_facts& host) {
  bool nesting = is_true(get(plan.config, "security.nesting"));
  add_map(out, "u ", maps.uids);
  add_map(out, "g ", maps.gids);
  out.emplace_back("lxc.cap.drop",
                   nesting ? "sys_time sys_module sys_rawio" : "sys_time sys_module sys_rawio mac_admin mac_override");
  // Without AppArmor in the kernel any value of this key would break checkpoint and restore.
  if (host.apparmor) out.emplace_back("lxc.apparmor.profile", "unconfined");
  if (!notified_calls(plan.config).empty()) out.emplace_back("lxc.seccomp.notify.proxy", "unix:" + host.syscalls);
  if (auto kinds = get(plan.config, "security.syscalls.intercept.mount.allowed");
      is_true(get(plan.config, "security.syscalls.intercept.mount"))) {
    bool shift = is_true(get(plan.config, "security.syscalls.intercept.mount.shift"));
    out.emplace_back("lxc.seccomp.notify.cookie", "mount=" + std::string{kinds} + (shift ? ";shift" : ""));
  }
  if (!plan_policy(plan.config).empty())
    out.emplace_back("lxc.seccomp.profile", policy_file(host, plan.key));
  else if (is_true(get(plan.config, "security.syscalls.deny_default", "true")))
    out.emplace_back("lxc.seccomp.profile", nesting ? host.seccomp_deny_nesting : host.seccomp_deny);
}

/// liblxc's word for a kind of card.
std::string_view type_of(nic_kind kind) {
  if (kind == nic_kind::macvlan) return "macvlan";
  if (kind == nic_kind::ipvlan) return "ipvlan";
  return kind == nic_kind::physical ? "phys" : "veth";
}

void add_nics(settings& out, const boot_plan& plan) {
  if (plan.nics.empty()) out.emplace_back("lxc.net.0.type", "empty");
  for (size_t i = 0; i < plan.nics.size(); ++i) {
    const auto& nic = plan.nics[i];
    auto prefix = "lxc.net." + std::to_string(i) + ".";
    auto add = [&](const char* key, std::string_view value) {
      if (!value.empty()) out.emplace_back(prefix + key, value);
    };
    auto type = type_of(nic.kind);
    add("type", type);
    add("flags", "up");
    add("link", nic.parent);
    if (type == "macvlan") add("macvlan.mode", "bridge");
    if (type == "ipvlan") add("ipvlan.mode", nic.mode);
    if (type == "veth") add("veth.pair", nic.host_name);
    add("name", nic.name);
    add("hwaddr", nic.hwaddr);
    if (nic.mtu > 0) add("mtu", std::to_string(nic.mtu));
    for (auto& address : nic.addresses)
      add(address.find(':') == address.npos ? "ipv4.address" : "ipv6.address", address);
    for (auto& gateway : nic.gateways)
      add(gateway.find(':') == gateway.npos ? "ipv4.gateway" : "ipv6.gateway",
          gateway == "::" || gateway == "0.0.0.0" ? "dev" : gateway);
  }
}

/// Keys that are liblxc's own under another name, e.g. environment.TERM=x -> lxc.environment = TERM=x.
void add_passed_keys(settings& out, const boot_plan& plan) {
  for (const auto& [key, value] : plan.config) {
    std::string_view name = key;
    auto rest = [&](std::string_view prefix) { return std::string{name.substr(prefix.size())}; };
    if (name.starts_with("environment."))
      out.emplace_back("lxc.environment", rest("environment.") + "=" + value);
    else if (name.starts_with("linux.sysctl."))
      out.emplace_back("lxc.sysctl." + rest("linux.sysctl."), value);
    else if (name.starts_with("limits.kernel."))
      out.emplace_back("lxc.prlimit." + rest("limits.kernel."), value);
  }
}

std::string_view trim(std::string_view text) {
  auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

outcome<void> add_raw(settings& out, std::string_view lines) {
  while (!lines.empty()) {
    auto end = lines.find('\n');
    auto line = trim(lines.substr(0, end));
    lines = end == std::string_view::npos ? std::string_view{} : lines.substr(end + 1);
    if (line.empty() || line.front() == '#') continue;
    auto equals = line.find('=');
    if (equals == std::string_view::npos)
      return fail(fault::invalid, "A line of raw.lxc has no \"=\": " + std::string{line});
    out.emplace_back(trim(line.substr(0, equals)), trim(line.substr(equals + 1)));
  }
  return {};
}

void add_personality(settings& out, const boot_plan& plan) {
  // A container of the host's own architecture needs none, and every exec would have to ask for it.
  utsname host{};
  ::uname(&host);
  if (plan.architecture == "i686" && std::string_view{host.machine} == "x86_64") out.emplace_back("lxc.arch", "i686");
  if (plan.architecture == "armv7l" && std::string_view{host.machine} == "aarch64")
    out.emplace_back("lxc.arch", "armv7l");
}

} // namespace

std::string device_rule(const node_plan& node) {
  return std::string{node.type} + " " + std::to_string(node.major) + ":" + std::to_string(node.minor) + " rwm";
}

bool is_allowed_anyway(const node_plan& node) {
  auto rule = device_rule(node);
  return std::find(std::begin(allowed_devices), std::end(allowed_devices), rule) != std::end(allowed_devices);
}

std::string policy_file(const host_facts& host, const std::string& key) { return host.seccomp_deny + "." + key; }

namespace {

/// Those that wait until somebody has looked at them. A node's kind is in four bits of its mode.
struct notified_row {
  std::string_view key, lines;
};
constexpr notified_row notified[] = {
    {"security.syscalls.intercept.mknod", "mknod notify [1,8192,SCMP_CMP_MASKED_EQ,61440]\n"
                                          "mknodat notify [2,8192,SCMP_CMP_MASKED_EQ,61440]\n"},
    // What makes no new mount goes on by itself, and programs that know a newer way are sent to the old one.
    {"security.syscalls.intercept.mount", "mount notify [3,0,SCMP_CMP_MASKED_EQ,1191968]\nfsopen errno 38\n"},
    {"security.syscalls.intercept.setxattr", "setxattr notify [3,1,SCMP_CMP_EQ]\n"},
    {"security.syscalls.intercept.sysinfo", "sysinfo notify\n"},
};

} // namespace

std::string notified_calls(const config_map& config) {
  std::string out;
  for (auto& row : notified)
    if (is_true(get(config, row.key))) out += row.lines;
  return out;
}

std::string plan_policy(const config_map& config) {
  if (auto raw = get(config, "raw.seccomp"); !raw.empty()) return std::string{raw} + "\n";
  if (auto allow = get(config, "security.syscalls.allow"); !allow.empty())
    return "2\nallowlist\n[all]\n" + std::string{allow} + "\n" + notified_calls(config);
  auto deny = get(config, "security.syscalls.deny");
  auto calls = notified_calls(config);
  if (deny.empty() && calls.empty()) return {};
  bool by_default = is_true(get(config, "security.syscalls.deny_default", "true"));
  return (by_default ? seccomp_policy(is_true(get(config, "security.nesting"))) : "2\ndenylist\n[all]\n") +
         std::string{deny} + "\n" + calls;
}

std::string seccomp_policy(bool nesting) {
  std::string text = "2\ndenylist\nreject_force_umount\n[all]\n";
  for (auto call :
       {"kexec_load", "kexec_file_load", "open_by_handle_at", "init_module", "finit_module", "delete_module"})
    // A nested runtime may pass the handles of its own file systems.
    if (!nesting || std::string_view{call} != "open_by_handle_at") text += std::string{call} + " errno 38\n";
  return text;
}

namespace {

/// A kernel shows most files of a group only below its root.
std::string find_disk_weight(bool unified) {
  if (unified)
    return read_small("/sys/fs/cgroup/cgroup.controllers").find("io") != std::string::npos ? "io.weight" : "";
  auto probe = "/sys/fs/cgroup/blkio/troupe-probe-" + std::to_string(::getpid());
  std::string found;
  if (::mkdir(probe.c_str(), 0755) < 0) return found;
  for (auto file : {"blkio.weight", "blkio.bfq.weight"})
    if (::access((probe + "/" + file).c_str(), F_OK) == 0) found = file;
  ::rmdir(probe.c_str());
  return found;
}

std::vector<std::string> find_huge_pages(bool unified) {
  constexpr std::pair<const char*, const char*> sizes[] = {
      {"64kB", "64KB"}, {"1024kB", "1MB"}, {"2048kB", "2MB"}, {"1048576kB", "1GB"}};
  bool limited = unified ? read_small("/sys/fs/cgroup/cgroup.controllers").find("hugetlb") != std::string::npos
                         : ::access("/sys/fs/cgroup/hugetlb/cgroup.procs", F_OK) == 0;
  std::vector<std::string> found;
  for (auto [kernel, ours] : sizes)
    if (limited && ::access((std::string{"/sys/kernel/mm/hugepages/hugepages-"} + kernel).c_str(), F_OK) == 0)
      found.emplace_back(ours);
  return found;
}

} // namespace

host_facts read_host() {
  host_facts host;
  struct statfs fs {};
  host.unified_cgroups = ::statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
  host.apparmor = ::access("/sys/kernel/security/apparmor", F_OK) == 0;
  host.fuse = ::access("/dev/fuse", F_OK) == 0;
  host.tun = ::access("/dev/net/tun", F_OK) == 0;
  host.cpus = parse_cpu_list(read_small("/sys/devices/system/cpu/online"));
  host.nodes = parse_cpu_list(read_small("/sys/devices/system/node/online"));
  host.swap_accounting = ::access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", F_OK) == 0;
  host.disk_weight = find_disk_weight(host.unified_cgroups);
  host.huge_pages = find_huge_pages(host.unified_cgroups);
  host.memory = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return host;
}

outcome<settings> make_settings(const boot_plan& plan, const id_maps& maps, const host_facts& host) {
  settings out;
  for (const auto& [key, value] : common) out.emplace_back(key, value);
  out.emplace_back("lxc.uts.name", plan.name);
  out.emplace_back("lxc.cgroup.dir.container", payload_cgroup(host.cgroup_prefix, plan.key));
  out.emplace_back("lxc.cgroup.dir.monitor", monitor_cgroup(host.cgroup_prefix, plan.key));
  out.emplace_back("lxc.cgroup.dir.monitor.pivot", host.cgroup_prefix);
  add_personality(out, plan);
  add_security(out, plan, maps, host);
  add_mounts(out, plan, host);
  add_devices(out, plan, host);
  add_nics(out, plan);
  if (auto limits = add_limits(out, plan, host); !limits) return tl::unexpected{limits.error()};
  add_passed_keys(out, plan);
  if (auto raw = add_raw(out, get(plan.config, "raw.lxc")); !raw) return tl::unexpected{raw.error()};
  return out;
}

} // namespace troupe::lxc
