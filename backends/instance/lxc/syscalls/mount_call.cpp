#include "backends/instance/lxc/syscalls/mount_call.hpp"

#include "backends/instance/lxc/syscalls/caller.hpp"

#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <fstream>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe::syscalls {
namespace {

// Of mount(2); <sys/mount.h> and <linux/mount.h> do not go together everywhere.
constexpr uint64_t read_only = 1, no_suid = 2, no_dev = 4, no_exec = 8, remount = 32, no_atime = 1024,
                   no_dir_atime = 2048, bind = 4096, move = 8192, unbindable = 1 << 17, make_private = 1 << 18,
                   slave = 1 << 19, shared = 1 << 20, strict_atime = 1 << 24;
constexpr uint64_t magic = 0xC0ED0000, magic_mask = 0xFFFF0000;
constexpr uint64_t changes_only = remount | bind | move | unbindable | make_private | slave | shared;
constexpr size_t kind_max = 64, options_max = 4096;

struct wish {
  std::string source, target, kind, options;
  uint64_t flags = 0;
  bool shift = false;
};

bool is_listed(const std::string& cookie, const std::string& kind) {
  constexpr std::string_view head = "mount=";
  if (!cookie.starts_with(head)) return false;
  std::istringstream list{cookie.substr(head.size(), cookie.find(';') - head.size())};
  for (std::string one; std::getline(list, one, ',');)
    if (one == kind) return true;
  return false;
}

/// Those that lie on a disk. The others (proc, overlay, tmpfs) are judged by the kernel, as for anybody inside.
bool is_on_disk(const std::string& kind) {
  std::ifstream in{"/proc/filesystems"};
  for (std::string line; std::getline(in, line);)
    if (line == "\t" + kind) return true;
  return false;
}

/// Options may not name further devices or files.
bool is_harmless(const std::string& options) {
  return options.find('/') == options.npos && options.find("dev=") == options.npos &&
         options.find("device") == options.npos;
}

unique_fd open_inside(const std::string& path, uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  return unique_fd{static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how))};
}

bool configure(int system, const wish& what) {
  auto set = [system](unsigned command, const char* key, const char* value) {
    return ::syscall(SYS_fsconfig, system, command, key, value, 0) == 0;
  };
  if (!set(FSCONFIG_SET_STRING, "source", what.source.c_str())) return false;
  if ((what.flags & read_only) != 0 && !set(FSCONFIG_SET_FLAG, "ro", nullptr)) return false;
  std::istringstream options{what.options};
  for (std::string one; std::getline(options, one, ',');) {
    auto equals = one.find('=');
    auto key = one.substr(0, equals);
    if (key.empty()) continue;
    bool good = equals == one.npos ? set(FSCONFIG_SET_FLAG, key.c_str(), nullptr)
                                   : set(FSCONFIG_SET_STRING, key.c_str(), one.c_str() + equals + 1);
    if (!good) return false;
  }
  return set(FSCONFIG_CMD_CREATE, nullptr, nullptr);
}

/// Nodes on a disk that somebody brings are never devices.
unsigned attributes_of(uint64_t flags) {
  unsigned out = MOUNT_ATTR_NODEV;
  if ((flags & read_only) != 0) out |= MOUNT_ATTR_RDONLY;
  if ((flags & no_suid) != 0) out |= MOUNT_ATTR_NOSUID;
  if ((flags & no_exec) != 0) out |= MOUNT_ATTR_NOEXEC;
  if ((flags & no_dir_atime) != 0) out |= MOUNT_ATTR_NODIRATIME;
  if ((flags & no_atime) != 0) return out | MOUNT_ATTR_NOATIME;
  return (flags & strict_atime) != 0 ? out | MOUNT_ATTR_STRICTATIME : out;
}

/// In the caller's mounts, with its file ids, and in its control group: which devices it may use says the kernel.
int mount_now(const wish& what, int users) {
  auto disk = open_inside(what.source, ((what.flags & read_only) != 0 ? O_RDONLY : O_RDWR) | O_NONBLOCK);
  struct stat info {};
  if (!disk || ::fstat(disk.get(), &info) < 0) return errno;
  if (!S_ISBLK(info.st_mode)) return ENOTBLK;
  auto target = open_inside(what.target, O_PATH | O_DIRECTORY);
  if (!target) return errno;
  unique_fd system{static_cast<int>(::syscall(SYS_fsopen, what.kind.c_str(), FSOPEN_CLOEXEC))};
  if (!system || !configure(system.get(), what)) return errno;
  unique_fd tree{static_cast<int>(::syscall(SYS_fsmount, system.get(), FSMOUNT_CLOEXEC, attributes_of(what.flags)))};
  if (!tree) return errno;
  if (what.shift) {
    mount_attr change{};
    change.attr_set = MOUNT_ATTR_IDMAP;
    change.userns_fd = static_cast<uint64_t>(users);
    if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &change, sizeof change) < 0) return errno;
  }
  constexpr unsigned whole = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  return ::syscall(SYS_move_mount, tree.get(), "", target.get(), "", whole) == 0 ? 0 : errno;
}

} // namespace

verdict mount_disk(const notification& call) {
  auto& args = call.call.data.args;
  wish what;
  what.flags = (args[3] & magic_mask) == magic ? args[3] & ~magic_mask : args[3];
  if ((what.flags & changes_only) != 0 || args[0] == 0 || args[2] == 0) return on_its_own;
  auto kind = call.text_at(args[2], kind_max);
  if (!kind || !is_listed(call.cookie, *kind) || !is_on_disk(*kind)) return on_its_own;
  auto source = call.text_at(args[0], PATH_MAX), target = call.text_at(args[1], PATH_MAX);
  auto options = args[4] == 0 ? std::optional<std::string>{""} : call.text_at(args[4], options_max);
  auto who = identify(call);
  if (!source || !target || !options || !is_harmless(*options) || !who) return on_its_own;
  if (!who->in_instances_own || (who->capabilities & (uint64_t{1} << CAP_SYS_ADMIN)) == 0) return on_its_own;
  what.source = *source;
  what.target = *target;
  what.kind = *kind;
  what.options = *options;
  what.shift = call.cookie.ends_with(";shift");
  auto base = base_of(call, AT_FDCWD);
  auto users = call.open("ns/user", O_RDONLY);
  auto group = group_of(call.file("cgroup"), "devices");
  if (!base || !users || group.empty() || !call.is_valid()) return on_its_own;
  return done_with(act_for(
      call, *who, base.get(), {CAP_SYS_ADMIN}, [&] { return mount_now(what, users.get()); }, group));
}

} // namespace troupe::syscalls
