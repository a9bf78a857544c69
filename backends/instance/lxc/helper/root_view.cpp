#include "backends/instance/lxc/helper/root_view.hpp"

#include "backends/instance/lxc/proc_facts.hpp"
#include "messages/config_map.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

outcome<void> write_file(const std::string& path, const std::string& text) {
  unique_fd fd{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno(errno, "Cannot write " + path);
  return {};
}

} // namespace

/// A namespace with a map needs a process for a moment.
outcome<unique_fd> open_user_namespace(const id_maps& maps) {
  int ready[2];
  if (::pipe2(ready, O_CLOEXEC) < 0) return fail_errno(errno, "Cannot make a pipe");
  unique_fd read_end{ready[0]}, write_end{ready[1]};
  pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "Cannot fork");
  if (child == 0) {
    char byte = ::unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
    if (::write(write_end.get(), &byte, 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  write_end.reset();
  char byte = 'n';
  bool good = ::read(read_end.get(), &byte, 1) == 1 && byte == 'y';
  auto proc = "/proc/" + std::to_string(child);
  outcome<unique_fd> result = fail(fault::unsupported, "This kernel makes no user namespace");
  if (good) {
    auto written =
        write_file(proc + "/uid_map", maps.uids).and_then([&] { return write_file(proc + "/gid_map", maps.gids); });
    unique_fd ns{::open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC)};
    if (!written)
      result = tl::unexpected{written.error()};
    else if (!ns)
      result = fail_errno(errno, "Cannot open the user namespace");
    else
      result = std::move(ns);
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return result;
}

id_maps maps_of(schema::RootView::Reader root) { return {text(root.getUidMap()), text(root.getGidMap())}; }

id_maps maps_of_process(pid_t process) {
  auto proc = "/proc/" + std::to_string(process);
  return {read_small(proc + "/uid_map"), read_small(proc + "/gid_map")};
}

namespace {

outcome<void> enter_private_mounts(const std::string& stage) {
  if (::unshare(CLONE_NEWNS) < 0) return fail_errno(errno, "Cannot make a mount namespace");
  // Unmounts on the host still arrive here, so that a running instance does not hold the host's other mounts.
  if (::mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) < 0)
    return fail_errno(errno, "Cannot make the mount namespace private");
  if (::mount("troupe", stage.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k") < 0)
    return fail_errno(errno, "Cannot mount on " + stage);
  for (auto name : {"/lower", "/disk", "/merged"})
    if (::mkdir((stage + name).c_str(), 0755) < 0) return fail_errno(errno, "Cannot make a directory in " + stage);
  return {};
}

/// Mounts a clone of the directory `from` on `to`, with the ids mapped by `map` (-1: as they are).
outcome<void> mount_clone(const std::string& from, const std::string& to, int map) {
  unique_fd tree{
      static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, from.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC))};
  if (!tree) return fail_errno(errno, "Cannot clone the mount of " + from);
  if (map >= 0) {
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<uint64_t>(map);
    if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0)
      return fail(fault::unsupported, "The kernel cannot map the ids of " + from);
  }
  if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, to.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0)
    return fail_errno(errno, "Cannot attach a mount on " + to);
  return {};
}

/// The deepest directory that holds both; overlayfs wants its upper and work directories on one mount.
std::string common_parent(const std::string& a, const std::string& b) {
  size_t slash = 0;
  for (size_t i = 0; i < a.size() && i < b.size() && a[i] == b[i]; ++i)
    if (a[i] == '/') slash = i;
  return slash == 0 ? "/" : a.substr(0, slash);
}

outcome<root_view> mount_overlay(const std::string& stage, schema::RootView::Reader root, bool mapped, bool writable) {
  unique_fd map;
  if (mapped) {
    auto ns = open_user_namespace(maps_of(root));
    if (!ns) return tl::unexpected{ns.error()};
    map = std::move(*ns);
  }
  auto upper = text(root.getUpper()), work = text(root.getWork());
  auto disk = common_parent(upper, work);
  auto cloned = mount_clone(text(root.getLower()), stage + "/lower", map.get()).and_then([&] {
    return mount_clone(disk, stage + "/disk", map.get());
  });
  if (!cloned) return tl::unexpected{cloned.error()};
  auto on_stage = [&](const std::string& path) {
    return stage + "/disk" + (disk == "/" ? path : path.substr(disk.size()));
  };
  // Paths of volumes may hold ',' or ':'; only the parts below the common parent show here, and those are ours.
  auto options = writable ? "lowerdir=" + stage + "/lower,upperdir=" + on_stage(upper) + ",workdir=" + on_stage(work)
                          : "lowerdir=" + on_stage(upper) + ":" + stage + "/lower";
  root_view view{stage + "/merged/rootfs", mapped ? root.getHostId() : 0};
  // overlayfs keeps the credentials of who mounts it for its own work; only the guest's root has an id on mapped
  // layers.
  file_identity as_guest_root{view.owner};
  if (::mount("overlay", (stage + "/merged").c_str(), "overlay", 0, options.c_str()) < 0) {
    int problem = errno;
    if (mapped && (problem == EINVAL || problem == EOVERFLOW || problem == EOPNOTSUPP))
      return fail(fault::unsupported, "This kernel cannot map the ids of overlay layers");
    return fail_errno(problem, "Cannot mount the overlay of " + text(root.getPath()));
  }
  return view;
}

// liblxc could map the ids itself (lxc.rootfs.options), but 5.0 forgets to when the container reboots from inside.
outcome<root_view> mount_mapped(const std::string& stage, schema::RootView::Reader root) {
  auto map = open_user_namespace(maps_of(root));
  if (!map) return tl::unexpected{map.error()};
  if (auto mounted = mount_clone(text(root.getPath()) + "/rootfs", stage + "/merged", map->get()); !mounted)
    return tl::unexpected{mounted.error()};
  return root_view{stage + "/merged", root.getHostId()};
}

} // namespace

file_identity::file_identity(uid_t owner) {
  if (owner == 0) return;
  ::setfsgid(owner);
  ::setfsuid(owner); // takes the file capabilities away, which are given back here
  cap_t caps = cap_get_proc();
  for (auto cap :
       {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_LINUX_IMMUTABLE}) {
    cap_value_t one[] = {cap};
    cap_flag_value_t permitted = CAP_CLEAR;
    if (cap_get_flag(caps, cap, CAP_PERMITTED, &permitted) == 0 && permitted == CAP_SET)
      cap_set_flag(caps, CAP_EFFECTIVE, 1, one, CAP_SET);
  }
  cap_set_proc(caps);
  cap_free(caps);
}

file_identity::~file_identity() {
  ::setfsuid(0);
  ::setfsgid(0);
}

outcome<root_view> assemble_for_boot(const std::string& stage, schema::RootView::Reader root, bool own_stage) {
  bool mapped = root.getIdCount() > 0 && !root.getShifted();
  if (mapped || own_stage || root.getLower().size() > 0)
    if (auto entered = enter_private_mounts(stage); !entered) return tl::unexpected{entered.error()};
  if (root.getLower().size() > 0) return mount_overlay(stage, root, mapped, true);
  if (mapped) return mount_mapped(stage, root);
  return root_view{text(root.getPath()) + "/rootfs", root.getShifted() ? root.getHostId() : 0};
}

outcome<root_view> assemble_for_files(const std::string& stage, schema::RootView::Reader root, bool writable) {
  if (root.getLower().size() > 0)
    return enter_private_mounts(stage).and_then([&] { return mount_overlay(stage, root, false, writable); });
  return root_view{text(root.getPath()) + "/rootfs", root.getShifted() ? root.getHostId() : 0};
}

} // namespace troupe::lxc
