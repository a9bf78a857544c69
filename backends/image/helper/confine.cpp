#include "backends/image/helper/confine.hpp"

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

namespace troupe::unpack {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true; // shadow memory needs terabytes of addresses and odd system calls
#else
constexpr bool sanitized = false;
#endif

constexpr uid_t nobody_else = 4294967040; // far above any range that is ever mapped or handed out
constexpr rlim_t memory_max = rlim_t{1} << 30;
constexpr rlim_t cpu_seconds_max = 3600;

constexpr int to_write[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP};
constexpr int to_receive[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP, CAP_MKNOD};
constexpr int to_read[] = {CAP_DAC_READ_SEARCH};
constexpr rlim_t files_max = 512, files_of_a_tree = 4; // one is open for each directory on the way down

outcome<void> check(bool good, const char* what) {
  if (good) return {};
  return fail_errno(errno, std::string{"Cannot confine the helper: "} + what);
}

outcome<unique_fd> empty_root() {
  unique_fd context{fsopen("tmpfs", FSOPEN_CLOEXEC)};
  if (!context || fsconfig(context.get(), FSCONFIG_SET_STRING, "size", "4k", 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return fail_errno(errno, "Cannot confine the helper: tmpfs");
  unique_fd tree{fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)};
  if (!tree) return fail_errno(errno, "Cannot confine the helper: tmpfs");
  return tree;
}

outcome<unique_fd> copy_of(const unique_fd& directory, tree_access how) {
  unique_fd tree{open_tree(directory.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)};
  if (!tree) return fail_errno(errno, "Cannot confine the helper: open_tree");
  mount_attr attrs{};
  attrs.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  if (how == tree_access::read) attrs.attr_set |= MOUNT_ATTR_RDONLY;
  attrs.propagation = MS_PRIVATE;
  if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attrs, sizeof attrs) != 0)
    return fail_errno(errno, "Cannot confine the helper: mount_setattr");
  return tree;
}

/// A tree as it becomes visible in the new root, by number.
struct copied_tree {
  std::string name; // "0"
  unique_fd dir, lower;
};

outcome<std::vector<copied_tree>> copies_of(const std::vector<visible_tree>& trees, tree_access how) {
  std::vector<copied_tree> out;
  for (auto& each : trees) {
    auto dir = copy_of(each.dir, each.only_read ? tree_access::read : how);
    if (!dir) return tl::unexpected{dir.error()};
    auto lower = each.lower ? copy_of(each.lower, how) : unique_fd{};
    if (!lower) return tl::unexpected{lower.error()};
    out.push_back({std::to_string(out.size()), std::move(*dir), std::move(*lower)});
  }
  return out;
}

outcome<void> attach(const unique_fd& tree, const std::string& name) {
  return check(mkdirat(AT_FDCWD, name.c_str(), 0700) == 0, "mkdir").and_then([&] {
    return check(move_mount(tree.get(), "", AT_FDCWD, name.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
  });
}

/// In the working directory. Of an overlay the two layers vanish behind the whole.
outcome<void> show(const copied_tree& tree) {
  if (!tree.lower) return attach(tree.dir, tree.name);
  auto upper = tree.name + "u", lower = tree.name + "l";
  auto options = "lowerdir=" + upper + ":" + lower;
  return attach(tree.dir, upper)
      .and_then([&] { return attach(tree.lower, lower); })
      .and_then([&] { return check(mkdirat(AT_FDCWD, tree.name.c_str(), 0700) == 0, "mkdir"); })
      .and_then([&] {
        return check(mount("overlay", tree.name.c_str(), "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                           options.c_str()) == 0,
                     "overlay");
      })
      .and_then([&] { return check(umount2(upper.c_str(), MNT_DETACH) == 0, "umount"); })
      .and_then([&] { return check(umount2(lower.c_str(), MNT_DETACH) == 0, "umount"); });
}

outcome<void> show_all(const std::vector<copied_tree>& trees) {
  for (auto& each : trees)
    if (auto ok = show(each); !ok) return ok;
  return {};
}

outcome<void> seal_root() {
  mount_attr attrs{};
  attrs.attr_set = MOUNT_ATTR_RDONLY;
  return check(mount_setattr(AT_FDCWD, "/", 0, &attrs, sizeof attrs) == 0, "mount_setattr");
}

outcome<std::vector<unique_fd>> open_all(const std::vector<copied_tree>& trees) {
  std::vector<unique_fd> out;
  for (auto& each : trees) {
    out.emplace_back(open(("/" + each.name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!out.back()) return fail_errno(errno, "Cannot confine the helper: open");
  }
  return out;
}

/// The new root is put somewhere (what it hides does not matter); then the old one, with all that is mounted in it,
/// goes away.
outcome<std::vector<unique_fd>> enter_root(const std::vector<visible_tree>& trees, tree_access how) {
  auto root = empty_root();
  if (!root) return tl::unexpected{root.error()};
  auto copies = copies_of(trees, how); // can be made in their own mount namespace only: ours, still
  if (!copies) return tl::unexpected{copies.error()};
  // Slave, not private: while we still hold copies of the host's mounts, unmounting there must reach them.
  auto ok =
      check(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) == 0, "unshare")
          .and_then([] { return check(mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0, "mount"); })
          .and_then([&] {
            return check(move_mount(root->get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
          })
          .and_then([&] { return check(fchdir(root->get()) == 0, "fchdir"); })
          .and_then([&] { return show_all(*copies); })
          .and_then([] { return check(syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root"); })
          .and_then([] { return check(umount2(".", MNT_DETACH) == 0, "umount"); })
          .and_then([] { return check(chdir("/") == 0, "chdir"); })
          .and_then(seal_root);
  if (!ok) return tl::unexpected{ok.error()};
  return open_all(*copies);
}

outcome<void> limit(uint64_t bytes_max, size_t trees) {
  struct row {
    __rlimit_resource_t what;
    rlim_t most;
  };
  const row rows[] = {{RLIMIT_CPU, cpu_seconds_max},
                      {RLIMIT_CORE, 0},
                      {RLIMIT_NOFILE, files_max + files_of_a_tree * trees},
                      {RLIMIT_FSIZE, bytes_max},
                      {RLIMIT_MSGQUEUE, 0},
                      {RLIMIT_AS, sanitized ? RLIM_INFINITY : memory_max},
                      {RLIMIT_NPROC, sanitized ? RLIM_INFINITY : 0}};
  for (const auto& [what, most] : rows) {
    rlimit now{};
    if (getrlimit(what, &now) != 0) return check(false, "getrlimit");
    const auto lower = std::min(now.rlim_max, most); // the host may be stricter; raising is a right we may not have
    const rlimit both{lower, lower};
    if (setrlimit(what, &both) != 0) return check(false, "setrlimit");
  }
  std::signal(SIGXFSZ, SIG_IGN); // the write fails instead
  return {};
}

template <size_t Count>
outcome<void> drop_rights(const int (&kept)[Count]) {
  for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; ++c)
    if (prctl(PR_CAPBSET_DROP, c) != 0) return check(false, "capability bounds");
  if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, nullptr) != 0 ||
      setresgid(nobody_else, nobody_else, nobody_else) != 0 || setresuid(nobody_else, nobody_else, nobody_else) != 0)
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

} // namespace

outcome<void> die_with(pid_t parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return check(false, "death signal");
  if (getppid() != parent) return fail(fault::cancelled, "The daemon is gone");
  return {};
}

outcome<std::vector<unique_fd>> confine(std::vector<visible_tree> trees, tree_access how, uint64_t bytes_max) {
  umask(0);
  const pid_t parent = getppid();
  auto roots = enter_root(trees, how);
  if (!roots) return roots;
  auto count = trees.size();
  trees.clear(); // ways back into the host's tree
  auto ok = limit(bytes_max, count)
                .and_then([&] {
                  return how == tree_access::read    ? drop_rights(to_read)
                         : how == tree_access::write ? drop_rights(to_write)
                                                     : drop_rights(to_receive);
                })
                .and_then([&] { return die_with(parent); }) // a change of identity clears the death signal
                .and_then([&] { return sanitized ? outcome<void>{} : allow_file_calls_only(how); });
  if (!ok) return tl::unexpected{ok.error()};
  return roots;
}

} // namespace troupe::unpack
