#include "backends/instance/qemu/helper/sandbox.hpp"

#include "messages/unique_fd.hpp"

#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <vector>

namespace troupe::qemu {
namespace {

// What QEMU reads by path; the rest it gets as descriptors. What this host has not is left out.
constexpr const char* readable[] = {
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/qemu",
    "/usr/share/OVMF",
    "/usr/share/AAVMF",
    "/usr/share/seabios",
    "/usr/share/qemu-efi-aarch64",
};
constexpr unsigned kvm_major = 10, kvm_minor = 232;

tl::unexpected<error> refused(const std::string& what) { return fail_errno(errno, "Cannot confine QEMU: " + what); }

outcome<void> check(bool good, const std::string& what) {
  if (good) return {};
  return refused(what);
}

outcome<unique_fd> new_tmpfs(const char* mode, uint64_t attributes) {
  unique_fd context{fsopen("tmpfs", FSOPEN_CLOEXEC)};
  if (!context || fsconfig(context.get(), FSCONFIG_SET_STRING, "size", "64k", 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_SET_STRING, "mode", mode, 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return refused("tmpfs");
  unique_fd tree{fsmount(context.get(), FSMOUNT_CLOEXEC, attributes)};
  if (!tree) return refused("tmpfs");
  return tree;
}

outcome<unique_fd> read_only_copy(const std::string& path) {
  unique_fd tree{open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)};
  if (!tree) return refused("open_tree " + path);
  mount_attr wanted{};
  wanted.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  wanted.propagation = MS_PRIVATE;
  if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &wanted, sizeof wanted) != 0)
    return refused("mount_setattr " + path);
  return tree;
}

struct part {
  std::string name; // below the root, without the first slash
  unique_fd mount;
  bool is_file = false;
};

outcome<void> make_parents(int root, const std::string& name) {
  for (size_t at = name.find('/'); at != std::string::npos; at = name.find('/', at + 1))
    if (mkdirat(root, name.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return refused(name);
  return {};
}

outcome<void> add_link(int root, const std::string& path) {
  char target[PATH_MAX];
  auto size = readlink(path.c_str(), target, sizeof target - 1);
  if (size <= 0) return refused(path);
  target[size] = 0;
  if (auto made = make_parents(root, path.substr(1)); !made) return made;
  return check(symlinkat(target, root, path.c_str() + 1) == 0, path);
}

/// Copies of the host's mounts can only be made before its mount namespace is left.
outcome<std::vector<part>> system_parts(const sandbox_plan& plan, int root) {
  std::vector<part> parts;
  for (std::string path : readable) {
    struct stat found {};
    if (lstat(path.c_str(), &found) != 0) continue;
    if (S_ISLNK(found.st_mode)) {
      if (auto made = add_link(root, path); !made) return tl::unexpected{made.error()};
      continue;
    }
    auto copy = read_only_copy(path);
    if (!copy) return tl::unexpected{copy.error()};
    parts.push_back({path.substr(1), std::move(*copy)});
  }
  auto program = read_only_copy(plan.program);
  if (!program) return tl::unexpected{program.error()};
  parts.push_back({plan.program.substr(1), std::move(*program), true});
  auto own = new_tmpfs("0700", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!own) return tl::unexpected{own.error()};
  if (fchownat(own->get(), "", plan.identity, plan.identity, AT_EMPTY_PATH) != 0) return refused("/run");
  parts.push_back({"run", std::move(*own)});
  return parts;
}

outcome<void> attach(const part& one, int root) {
  if (auto made = make_parents(root, one.name); !made) return made;
  bool made = one.is_file ? mknodat(root, one.name.c_str(), S_IFREG | 0500, 0) == 0
                          : mkdirat(root, one.name.c_str(), 0755) == 0;
  if (!made && errno != EEXIST) return refused(one.name);
  return check(move_mount(one.mount.get(), "", root, one.name.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0, one.name);
}

/// A node of its own, because the host's belongs to root.
outcome<void> add_kvm(const sandbox_plan& plan, int root) {
  if (!plan.kvm) return {};
  if (mkdirat(root, "dev", 0755) != 0 || mknodat(root, "dev/kvm", S_IFCHR | 0600, makedev(kvm_major, kvm_minor)) != 0 ||
      fchownat(root, "dev/kvm", plan.identity, plan.identity, 0) != 0)
    return refused("/dev/kvm");
  return {};
}

/// The new root is put somewhere (what it hides does not matter); then the old one, with all that is mounted in it,
/// goes away.
outcome<void> enter_root(const sandbox_plan& plan) {
  auto root = new_tmpfs("0755", MOUNT_ATTR_NOSUID);
  if (!root) return tl::unexpected{root.error()};
  auto parts = system_parts(plan, root->get());
  if (!parts) return tl::unexpected{parts.error()};
  if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) != 0)
    return refused("unshare");
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return refused("mount");
  if (move_mount(root->get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0) return refused("move_mount");
  if (auto done = add_kvm(plan, root->get()); !done) return done;
  for (auto& each : *parts)
    if (auto done = attach(each, root->get()); !done) return done;
  mount_attr sealed{};
  sealed.attr_set = MOUNT_ATTR_RDONLY;
  if (mount_setattr(root->get(), "", AT_EMPTY_PATH, &sealed, sizeof sealed) != 0) return refused("mount_setattr");
  if (fchdir(root->get()) != 0 || syscall(SYS_pivot_root, ".", ".") != 0) return refused("pivot_root");
  if (umount2(".", MNT_DETACH) != 0) return refused("umount");
  return check(chdir("/") == 0, "chdir");
}

outcome<void> drop_rights(uid_t identity) {
  const rlimit no_core{0, 0};
  if (setrlimit(RLIMIT_CORE, &no_core) != 0) return refused("core files");
  for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; ++c)
    if (prctl(PR_CAPBSET_DROP, c) != 0) return refused("capability bounds");
  if (setgroups(0, nullptr) != 0 || setresgid(identity, identity, identity) != 0 ||
      setresuid(identity, identity, identity) != 0)
    return refused("identity");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  if (syscall(SYS_capset, &header, none) != 0) return refused("capabilities");
  return check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
}

} // namespace

outcome<void> enter_sandbox(const sandbox_plan& plan) {
  umask(0);
  if (auto done = enter_root(plan); !done) return done;
  umask(077);
  return drop_rights(plan.identity);
}

} // namespace troupe::qemu
