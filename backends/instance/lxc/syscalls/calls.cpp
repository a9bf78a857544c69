#include "backends/instance/lxc/syscalls/calls.hpp"

#include "backends/instance/lxc/syscalls/caller.hpp"
#include "backends/instance/lxc/syscalls/mount_call.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace troupe::syscalls {
namespace {

constexpr uint64_t bit(int capability) { return uint64_t{1} << capability; }

struct node_row {
  unsigned major, minor;
};
/// Character devices that any container may have: a whiteout of overlayfs, and those that tell nothing of the host.
constexpr node_row harmless[] = {{0, 0}, {1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}};

bool is_harmless(mode_t mode, dev_t device) {
  return S_ISCHR(mode) && std::any_of(std::begin(harmless), std::end(harmless), [&](auto& row) {
           return row.major == major(device) && row.minor == minor(device);
         });
}

/// The kernel's number of a device has 12 bits for the major and 20 for the minor.
dev_t device_of(uint64_t argument) { return static_cast<dev_t>(static_cast<uint32_t>(argument)); }

mode_t umask_of(const notification& call) {
  auto status = call.file("status");
  auto at = status.find("Umask:");
  return at == std::string::npos ? 022 : static_cast<mode_t>(std::strtoul(status.c_str() + at + 6, nullptr, 8));
}

verdict make_node(const notification& call, int directory, uint64_t path_at, uint64_t mode_argument, uint64_t number) {
  auto mode = static_cast<mode_t>(mode_argument);
  auto device = device_of(number);
  if (!is_harmless(mode, device)) return on_its_own;
  auto path = call.text_at(path_at, PATH_MAX);
  auto who = identify(call);
  if (!who || !path) return on_its_own;
  if (!who->in_instances_own || (who->capabilities & bit(CAP_MKNOD)) == 0) return on_its_own;
  auto base = base_of(call, directory);
  auto mask = umask_of(call);
  if (!base || !call.is_valid()) return on_its_own;
  return done_with(act_for(call, *who, base.get(), {CAP_MKNOD}, [&]() -> int {
    auto where = walk(*path);
    if (!where) return errno;
    return ::mknodat(where->folder.get(), where->name.c_str(), mode & ~mask, device) == 0 ? 0 : errno;
  }));
}

/// A whole number of /proc/PID/uid_map: may the id be the instance's own?
bool is_mapped(const std::string& map, uint64_t id) {
  std::istringstream lines{map};
  for (uint64_t inside = 0, host = 0, count = 0; lines >> inside >> host >> count;)
    if (id >= host && id - host < count) return true;
  return false;
}

/// Overlayfs hides what lies below a directory if it bears this. Only the host's root may write it.
constexpr std::string_view opaque = "trusted.overlay.opaque";

verdict set_attribute(const notification& call) {
  auto& args = call.call.data.args;
  if (args[3] != 1) return on_its_own;
  auto name = call.text_at(args[1], XATTR_NAME_MAX + 1);
  auto value = call.bytes_at(args[2], 1);
  auto path = call.text_at(args[0], PATH_MAX);
  auto who = identify(call);
  if (!name || *name != opaque || !value || *value != "y" || !path || !who) return on_its_own;
  if (!who->in_instances_own || (who->capabilities & bit(CAP_SYS_ADMIN)) == 0) return on_its_own;
  auto base = base_of(call, AT_FDCWD);
  auto users = call.file("uid_map");
  auto flags = static_cast<int>(args[4]);
  if (!base || !call.is_valid()) return on_its_own;
  return done_with(act_for(call, *who, base.get(), {CAP_SYS_ADMIN}, [&]() -> int {
    open_how how{};
    how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK;
    how.resolve = RESOLVE_NO_MAGICLINKS;
    unique_fd folder{static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path->c_str(), &how, sizeof how))};
    struct stat info {};
    if (!folder || ::fstat(folder.get(), &info) < 0) return errno;
    if (!is_mapped(users, info.st_uid)) return EPERM;
    return ::fsetxattr(folder.get(), opaque.data(), "y", 1, flags) == 0 ? 0 : errno;
  }));
}

// ---- sysinfo: what the instance's own limits leave of the host's figures

uint64_t number_in(const std::string& file) {
  unique_fd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  char text[64] = {};
  if (!fd || ::read(fd.get(), text, sizeof text - 1) <= 0 || text[0] < '0' || text[0] > '9') return UINT64_MAX;
  return std::strtoull(text, nullptr, 10);
}

std::string groups_of(pid_t leader) {
  unique_fd fd{::open(("/proc/" + std::to_string(leader) + "/cgroup").c_str(), O_RDONLY | O_CLOEXEC)};
  std::string table(16 << 10, '\0');
  auto n = fd ? ::read(fd.get(), table.data(), table.size()) : 0;
  table.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
  return table;
}

uint64_t start_of(pid_t process) { // in clock ticks since the host's boot
  unique_fd fd{::open(("/proc/" + std::to_string(process) + "/stat").c_str(), O_RDONLY | O_CLOEXEC)};
  char text[4096] = {};
  if (!fd || ::read(fd.get(), text, sizeof text - 1) <= 0) return 0;
  std::string all{text};
  std::istringstream fields{all.substr(all.rfind(')') + 1)};
  std::string skip;
  for (int i = 3; i < 22; ++i) fields >> skip;
  uint64_t start = 0;
  fields >> start;
  return start;
}

verdict tell_system(const notification& call) {
  struct sysinfo host {};
  if (::sysinfo(&host) != 0) return on_its_own;
  auto unit = uint64_t{host.mem_unit == 0 ? 1U : host.mem_unit};
  auto leader = call.head.leader;
  auto groups = groups_of(leader);
  auto memory = group_of(groups, "memory"), pids = group_of(groups, "pids");
  bool v1 = memory.find("/sys/fs/cgroup/memory") == 0;
  auto limit = number_in(memory + (v1 ? "/memory.limit_in_bytes" : "/memory.max"));
  auto used = number_in(memory + (v1 ? "/memory.usage_in_bytes" : "/memory.current"));
  auto total = std::min<uint64_t>(host.totalram * unit, limit);
  struct sysinfo told = host;
  told.mem_unit = 1;
  told.totalram = total;
  told.freeram = used == UINT64_MAX ? host.freeram * unit : total - std::min(total, used);
  told.sharedram = told.bufferram = 0;
  told.totalhigh = told.freehigh = 0;
  told.totalswap = v1 || limit == UINT64_MAX ? host.totalswap * unit : std::min<uint64_t>(host.totalswap * unit, limit);
  told.freeswap = std::min<uint64_t>(host.freeswap * unit, told.totalswap);
  if (auto count = number_in(pids + "/pids.current"); count != UINT64_MAX)
    told.procs = static_cast<unsigned short>(std::min<uint64_t>(count, USHRT_MAX));
  auto since = start_of(leader) / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  told.uptime = host.uptime - std::min<long>(host.uptime, static_cast<long>(since));
  if (!call.is_valid()) return on_its_own;
  return done_with(call.write_at(call.call.data.args[0], &told, sizeof told) ? 0 : EFAULT);
}

} // namespace

verdict handle(const notification& call) {
  auto& data = call.call.data;
  auto& args = data.args;
  switch (data.nr) {
    case SYS_mknodat:
      return make_node(call, static_cast<int>(args[0]), args[1], args[2], args[3]);
    case SYS_sysinfo:
      return tell_system(call);
    case SYS_setxattr:
      return set_attribute(call);
    case SYS_mount:
      return mount_disk(call);
#ifdef SYS_mknod // older architectures
    case SYS_mknod:
      return make_node(call, AT_FDCWD, args[0], args[1], args[2]);
#endif
    default:
      return on_its_own;
  }
}

} // namespace troupe::syscalls
