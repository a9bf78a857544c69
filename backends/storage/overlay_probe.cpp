#include "backends/storage/overlay_probe.hpp"

#include "messages/unique_fd.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string_view>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace troupe {
namespace {

constexpr uid_t shift = 1'000'000;

bool write_file(const std::string& path, std::string_view text) {
  unique_fd fd{open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
  return fd && write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// An idmapped mount wants a user namespace, and that wants a process for the moment in which its map is written. The
// child makes system calls only, and is no SIGCHLD child, so that nobody else reaps it. It keeps nothing open but the
// pipe it waits at: with the other end of another child's pipe both would wait for ever, the daemon's lock in their
// hands.
unique_fd make_user_namespace() {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  unique_fd read_end{ends[0]}, write_end{ends[1]};
  auto child = static_cast<pid_t>(syscall(SYS_clone, CLONE_NEWUSER, nullptr, nullptr, nullptr, nullptr));
  if (child == 0) {
    char byte;
    if (ends[0] > 0) syscall(SYS_close_range, 0u, static_cast<unsigned>(ends[0] - 1), 0u);
    syscall(SYS_close_range, static_cast<unsigned>(ends[0] + 1), ~0u, 0u);
    syscall(SYS_read, ends[0], &byte, 1); // until the parent is done, or dead
    for (;;) syscall(SYS_exit_group, 0);
  }
  if (child < 0) return {};
  auto proc = "/proc/" + std::to_string(child);
  auto map = "0 " + std::to_string(shift) + " 65536";
  bool mapped = write_file(proc + "/uid_map", map) && write_file(proc + "/gid_map", map);
  unique_fd space{mapped ? open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC) : -1};
  write_end.reset();
  while (waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) continue;
  return space;
}

bool mount_shifted(const char* source, const char* target, int user_namespace) {
  unique_fd tree{open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)};
  mount_attr change{};
  change.attr_set = MOUNT_ATTR_IDMAP;
  change.userns_fd = static_cast<uint64_t>(user_namespace);
  return tree && mount_setattr(tree.get(), "", AT_EMPTY_PATH, &change, sizeof change) == 0 &&
         move_mount(tree.get(), "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

// overlayfs makes what is in its work directory as the one who mounted it, and the host's root has no id on an idmapped
// mount: the mounter must be the shifted root, with the capabilities that go with it back on.
bool become_shifted_root() {
  syscall(SYS_setfsgid, shift);
  syscall(SYS_setfsuid, shift);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
  if (syscall(SYS_capget, &header, sets) != 0) return false;
  for (auto& set : sets) set.effective = set.permitted;
  return syscall(SYS_capset, &header, sets) == 0;
}

// What root is on disk must be the shifted root in the overlay, and be root on disk again after it was copied up.
bool try_overlay(const std::string& scratch, int user_namespace) {
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  if (chdir(scratch.c_str()) != 0) return false; // short names, and no comma or colon of the pool's path in the options
  if (!mount_shifted("lower", "low", user_namespace) || !mount_shifted("top", "up", user_namespace)) return false;
  if (!become_shifted_root()) return false;
  // Volatile: nothing here is worth the syncs of the whole disk that copying up and unmounting bring.
  constexpr char options[] = "volatile,lowerdir=low,upperdir=up/upper,workdir=up/work";
  if (mount("overlay", "merged", "overlay", 0, options) != 0) return false;
  struct stat seen, stored;
  if (stat("merged/file", &seen) != 0 || seen.st_uid != shift) return false;
  unique_fd written{open("merged/file", O_WRONLY | O_CLOEXEC)};
  return written && stat("top/upper/file", &stored) == 0 && stored.st_uid == 0;
}

} // namespace

bool can_overlay_idmapped(const std::string& scratch) {
  for (const char* name : {"", "/lower", "/low", "/top", "/top/upper", "/top/work", "/up", "/merged"})
    if (mkdir((scratch + name).c_str(), 0700) != 0) return false;
  if (!write_file(scratch + "/lower/file", "x")) return false;
  auto user_namespace = make_user_namespace();
  if (!user_namespace) return false;
  bool works = false;
  // A thread may have a mount namespace of its own; it ends with the thread.
  std::thread{[&] { works = try_overlay(scratch, user_namespace.get()); }}.join();
  return works;
}

} // namespace troupe
