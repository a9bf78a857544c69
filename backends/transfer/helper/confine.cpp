#include "backends/transfer/helper/confine.hpp"

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
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

namespace troupe::transfer {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true; // shadow memory needs terabytes of addresses
#else
constexpr bool sanitized = false;
#endif

constexpr uid_t nobody_else = 4294967041; // far above any range that is ever mapped or handed out
constexpr rlim_t memory_max = rlim_t{2} << 30;
constexpr rlim_t processes_max = 256; // of all transfers together

outcome<void> check(bool good, const std::string& what) {
  if (good) return {};
  return fail_errno(errno, "Cannot confine rsync: " + what);
}

outcome<unique_fd> empty_root() {
  unique_fd context{fsopen("tmpfs", FSOPEN_CLOEXEC)};
  if (!context || fsconfig(context.get(), FSCONFIG_SET_STRING, "size", "64k", 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_SET_STRING, "mode", "0755", 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return fail_errno(errno, "Cannot confine rsync: tmpfs");
  unique_fd tree{fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)};
  if (!tree) return fail_errno(errno, "Cannot confine rsync: tmpfs");
  return tree;
}

/// A copy of the mount at `from`, with more attributes; only in the mount namespace that it is of.
outcome<unique_fd> copy_mount(const char* path, uint64_t attributes) {
  unique_fd tree{open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)};
  if (!tree) return fail_errno(errno, std::string{"Cannot confine rsync: open_tree "} + path);
  mount_attr wanted{};
  wanted.attr_set = attributes;
  wanted.propagation = MS_PRIVATE;
  if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &wanted, sizeof wanted) != 0)
    return fail_errno(errno, std::string{"Cannot confine rsync: mount_setattr "} + path);
  return tree;
}

struct part {
  std::string name; // below the root
  unique_fd mount;
  bool is_file = false;
};

/// What a dynamically linked program needs: directories are mounted, links (of a merged /usr) made again.
outcome<void> add_system(std::vector<part>& parts, int root) {
  for (const char* name : {"usr", "lib", "lib64"}) {
    auto path = std::string{"/"} + name;
    struct stat found {};
    if (lstat(path.c_str(), &found) != 0) continue;
    if (S_ISLNK(found.st_mode)) {
      std::string target(256, '\0');
      auto size = readlink(path.c_str(), target.data(), target.size());
      if (size <= 0) return check(false, path);
      target.resize(static_cast<size_t>(size));
      if (symlinkat(target.c_str(), root, name) != 0) return check(false, path);
      continue;
    }
    auto mount = copy_mount(path.c_str(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (!mount) return tl::unexpected{mount.error()};
    parts.push_back({name, std::move(*mount)});
  }
  auto own = copy_mount("/proc/self/exe", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (!own) return tl::unexpected{own.error()};
  parts.push_back({own_path + 1, std::move(*own), true});
  return {};
}

/// A directory of a volume becomes a mount of its own, so that nothing leads out of it. A mount without a place
/// (fsmount) gets one.
outcome<void> add_tree(std::vector<part>& parts, const unique_fd& tree, bool writable) {
  unique_fd mount{open_tree(tree.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)};
  if (!mount && errno == EINVAL) mount.reset(fcntl(tree.get(), F_DUPFD_CLOEXEC, 0));
  if (!mount) return check(false, "open_tree");
  mount_attr harmless{};
  harmless.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW;
  if (!writable) harmless.attr_set |= MOUNT_ATTR_RDONLY;
  harmless.propagation = MS_PRIVATE;
  if (mount_setattr(mount.get(), "", AT_EMPTY_PATH, &harmless, sizeof harmless) != 0)
    return check(false, "mount_setattr");
  parts.push_back({"tree", std::move(mount)});
  return {};
}

outcome<void> attach(const part& one, int root) {
  bool made = one.is_file ? mknodat(root, one.name.c_str(), S_IFREG | 0500, 0) == 0
                          : mkdirat(root, one.name.c_str(), 0755) == 0;
  if (!made) return check(false, one.name);
  return check(move_mount(one.mount.get(), "", root, one.name.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0, one.name);
}

/// The new root is put somewhere (what it hides does not matter); then the old one, with all that is mounted in it,
/// goes away.
outcome<void> enter_root(const unique_fd& tree, bool writable) {
  auto root = empty_root();
  if (!root) return tl::unexpected{root.error()};
  std::vector<part> parts;
  if (auto done = add_system(parts, root->get()); !done) return done;
  if (auto done = add_tree(parts, tree, writable); !done) return done;
  if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) != 0)
    return check(false, "unshare");
  // Slave, not private: while we still hold copies of the host's mounts, unmounting there must reach them.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return check(false, "mount");
  if (move_mount(root->get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0) return check(false, "move_mount");
  for (auto& each : parts)
    if (auto done = attach(each, root->get()); !done) return done;
  mount_attr sealed{};
  sealed.attr_set = MOUNT_ATTR_RDONLY;
  if (mount_setattr(root->get(), "", AT_EMPTY_PATH, &sealed, sizeof sealed) != 0) return check(false, "mount_setattr");
  if (fchdir(root->get()) != 0 || syscall(SYS_pivot_root, ".", ".") != 0) return check(false, "pivot_root");
  if (umount2(".", MNT_DETACH) != 0) return check(false, "umount");
  return check(chdir("/tree") == 0, "chdir");
}

outcome<void> limit() {
  struct row {
    __rlimit_resource_t what;
    rlim_t most;
  };
  const row rows[] = {{RLIMIT_CORE, 0},
                      {RLIMIT_NOFILE, 256},
                      {RLIMIT_MSGQUEUE, 0},
                      {RLIMIT_AS, sanitized ? RLIM_INFINITY : memory_max},
                      {RLIMIT_NPROC, sanitized ? RLIM_INFINITY : processes_max}};
  for (const auto& [what, most] : rows) {
    rlimit now{};
    if (getrlimit(what, &now) != 0) return check(false, "getrlimit");
    const auto lower = std::min(now.rlim_max, most); // the host may be stricter; raising is a right we may not have
    const rlimit both{lower, lower};
    if (setrlimit(what, &both) != 0) return check(false, "setrlimit");
  }
  return {};
}

/// Ambient, so that rsync has them although it is not root.
outcome<void> drop_rights(const std::vector<int>& kept) {
  for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; ++c)
    if (std::find(kept.begin(), kept.end(), c) == kept.end() && prctl(PR_CAPBSET_DROP, c) != 0)
      return check(false, "capability bounds");
  if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, nullptr) != 0 ||
      setresgid(nobody_else, nobody_else, nobody_else) != 0 || setresuid(nobody_else, nobody_else, nobody_else) != 0)
    return check(false, "identity");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  for (int c : kept) {
    auto& set = sets[CAP_TO_INDEX(c)];
    set.permitted |= CAP_TO_MASK(c);
    set.effective |= CAP_TO_MASK(c);
    set.inheritable |= CAP_TO_MASK(c);
  }
  if (syscall(SYS_capset, &header, sets) != 0) return check(false, "capabilities");
  for (int c : kept)
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) != 0) return check(false, "ambient capabilities");
  return check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
}

} // namespace

outcome<void> die_with(pid_t parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return check(false, "death signal");
  if (getppid() != parent) return fail(fault::cancelled, "The daemon is gone");
  return {};
}

outcome<void> confine(unique_fd tree, bool writable) {
  umask(0);
  if (auto done = enter_root(tree, writable); !done) return done;
  tree.reset(); // a way back into the host's tree
  if (auto done = limit(); !done) return done;
  if (!writable) return drop_rights({CAP_DAC_READ_SEARCH});
  return drop_rights({CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP, CAP_MKNOD});
}

} // namespace troupe::transfer
