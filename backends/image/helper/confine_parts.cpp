#include "backends/image/helper/confine_parts.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe::unpack {
namespace {

constexpr rlim_t cpu_seconds_max = 3600;

outcome<void> seal_root() {
  mount_attr attrs{};
  attrs.attr_set = MOUNT_ATTR_RDONLY;
  return check(mount_setattr(AT_FDCWD, "/", 0, &attrs, sizeof attrs) == 0, "mount_setattr");
}

} // namespace

outcome<void> check(bool good, const char* what) {
  if (good) return {};
  return fail_errno(errno, std::string{"Cannot confine the helper: "} + what);
}

outcome<unique_fd> empty_root(const char* size, uint64_t attributes) {
  unique_fd context{fsopen("tmpfs", FSOPEN_CLOEXEC)};
  if (!context || fsconfig(context.get(), FSCONFIG_SET_STRING, "size", size, 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return fail_errno(errno, "Cannot confine the helper: tmpfs");
  unique_fd tree{fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes))};
  if (!tree) return fail_errno(errno, "Cannot confine the helper: tmpfs");
  return tree;
}

outcome<unique_fd> copy_of(int at, const char* path, uint64_t attributes) {
  unique_fd tree{open_tree(at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)};
  if (!tree) return fail_errno(errno, "Cannot confine the helper: open_tree");
  mount_attr attrs{};
  attrs.attr_set = attributes;
  attrs.propagation = MS_PRIVATE;
  if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attrs, sizeof attrs) != 0)
    return fail_errno(errno, "Cannot confine the helper: mount_setattr");
  return tree;
}

/// The new root is put somewhere (what it hides does not matter); then the old one, with all that is mounted in it,
/// goes away.
outcome<void> enter_root(const unique_fd& root, const std::function<outcome<void>()>& furnish) {
  // Slave, not private: while we still hold copies of the host's mounts, unmounting there must reach them.
  return check(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) == 0, "unshare")
      .and_then([] { return check(mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0, "mount"); })
      .and_then([&] {
        return check(move_mount(root.get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
      })
      .and_then([&] { return check(fchdir(root.get()) == 0, "fchdir"); })
      .and_then(furnish)
      .and_then([] { return check(syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root"); })
      .and_then([] { return check(umount2(".", MNT_DETACH) == 0, "umount"); })
      .and_then([] { return check(chdir("/") == 0, "chdir"); })
      .and_then(seal_root);
}

outcome<void> limit(const bounds& most) {
  struct row {
    __rlimit_resource_t what;
    rlim_t most;
  };
  const row rows[] = {{RLIMIT_CPU, cpu_seconds_max},
                      {RLIMIT_CORE, 0},
                      {RLIMIT_NOFILE, most.files},
                      {RLIMIT_FSIZE, most.bytes},
                      {RLIMIT_MSGQUEUE, 0},
                      {RLIMIT_AS, sanitized ? RLIM_INFINITY : most.memory},
                      {RLIMIT_NPROC, sanitized ? RLIM_INFINITY : most.processes}};
  for (const auto& [what, wanted] : rows) {
    rlimit now{};
    if (getrlimit(what, &now) != 0) return check(false, "getrlimit");
    const auto lower = std::min(now.rlim_max, wanted); // the host may be stricter; raising is a right we may not have
    const rlimit both{lower, lower};
    if (setrlimit(what, &both) != 0) return check(false, "setrlimit");
  }
  std::signal(SIGXFSZ, SIG_IGN); // the write fails instead
  return {};
}

outcome<void> drop_rights(uid_t user, gid_t group, std::initializer_list<int> kept) {
  for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; ++c)
    if (prctl(PR_CAPBSET_DROP, c) != 0) return check(false, "capability bounds");
  if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, nullptr) != 0 || setresgid(group, group, group) != 0 ||
      setresuid(user, user, user) != 0)
    return check(false, "identity");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  for (int c : kept) {
    sets[CAP_TO_INDEX(c)].permitted |= CAP_TO_MASK(c);
    sets[CAP_TO_INDEX(c)].effective |= CAP_TO_MASK(c);
  }
  if (syscall(SYS_capset, &header, sets) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return check(false, "capabilities");
  return {};
}

} // namespace troupe::unpack
