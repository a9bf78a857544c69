#include "backends/image/helper/confine.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
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

constexpr int kept_capabilities[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP};

outcome<void> check(bool good, const char* what) {
  if (good) return {};
  return fail_errno(errno, std::string{"Cannot confine the unpacker: "} + what);
}

outcome<unique_fd> empty_root() {
  unique_fd context{fsopen("tmpfs", FSOPEN_CLOEXEC)};
  if (!context || fsconfig(context.get(), FSCONFIG_SET_STRING, "size", "4k", 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return fail_errno(errno, "Cannot confine the unpacker: tmpfs");
  unique_fd tree{fsmount(context.get(), FSMOUNT_CLOEXEC,
                         MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)};
  if (!tree) return fail_errno(errno, "Cannot confine the unpacker: tmpfs");
  return tree;
}

outcome<unique_fd> target_root(const unique_fd& target) {
  unique_fd tree{open_tree(target.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)};
  if (!tree) return fail_errno(errno, "Cannot confine the unpacker: open_tree");
  mount_attr attrs{};
  attrs.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  attrs.propagation = MS_PRIVATE;
  if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attrs, sizeof attrs) != 0)
    return fail_errno(errno, "Cannot confine the unpacker: mount_setattr");
  return tree;
}

/// The new root is put somewhere (what it hides does not matter); then the old one, with all that is mounted in it,
/// goes away.
outcome<unique_fd> enter_root(const unique_fd& target) {
  auto tree =
      target ? target_root(target) : empty_root(); // a copy can be made in its own mount namespace only: ours, still
  if (!tree) return tree;
  // Slave, not private: while we still hold copies of the host's mounts, unmounting there must reach them.
  auto ok =
      check(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) == 0, "unshare")
          .and_then([] { return check(mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0, "mount"); })
          .and_then([&] {
            return check(move_mount(tree->get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
          })
          .and_then([&] { return check(fchdir(tree->get()) == 0, "fchdir"); })
          .and_then([] { return check(syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root"); })
          .and_then([] { return check(umount2(".", MNT_DETACH) == 0, "umount"); })
          .and_then([] { return check(chdir("/") == 0, "chdir"); });
  if (!ok) return tl::unexpected{ok.error()};
  unique_fd root{open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!root) return fail_errno(errno, "Cannot confine the unpacker: open");
  return root;
}

outcome<void> limit(uint64_t bytes_max) {
  struct row {
    __rlimit_resource_t what;
    rlim_t most;
  };
  const row rows[] = {{RLIMIT_CPU, cpu_seconds_max},
                      {RLIMIT_CORE, 0},
                      {RLIMIT_NOFILE, 64},
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

outcome<void> drop_rights() {
  for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; ++c)
    if (prctl(PR_CAPBSET_DROP, c) != 0) return check(false, "capability bounds");
  if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, nullptr) != 0 ||
      setresgid(nobody_else, nobody_else, nobody_else) != 0 || setresuid(nobody_else, nobody_else, nobody_else) != 0)
    return check(false, "identity");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  for (int c : kept_capabilities) {
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

outcome<unique_fd> confine(unique_fd target, uint64_t bytes_max) {
  umask(0);
  const pid_t parent = getppid();
  auto root = enter_root(target);
  if (!root) return root;
  target.reset(); // a way back into the host's tree
  auto ok = limit(bytes_max)
                .and_then(drop_rights)
                .and_then([&] { return die_with(parent); }) // a change of identity clears the death signal
                .and_then([] { return sanitized ? outcome<void>{} : allow_file_calls_only(); });
  if (!ok) return tl::unexpected{ok.error()};
  return root;
}

} // namespace troupe::unpack
