#include "backends/instance/helper/confined.hpp"
#include "backends/instance/lxc/helper/device_view.hpp"
#include "backends/instance/lxc/helper/jobs.hpp"
#include "backends/instance/lxc/helper/leader.hpp"
#include "backends/instance/lxc/helper/root_view.hpp"
#include "messages/config_map.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

std::string path_of(schema::PlugJob::Reader request) {
  return text(request.isMount() ? request.getMount().getPath() : request.getNode().getPath());
}

outcome<device_tree> open_device(const job_context& job, schema::PlugJob::Reader request) {
  auto ids = request.getIdCount() > 0 ? maps_of_process(request.getLeader()) : id_maps{};
  if (request.isMount()) return open_mount(request.getMount(), ids);
  if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) < 0)
    return fail_errno(errno, "Cannot make a mount namespace");
  return open_node(job.stage, request.getNode(), ids);
}

/// The instance's root, seen from its own mounts; this process keeps the host's privileges and user namespace.
outcome<unique_fd> enter_mounts(int leader) {
  if (::setns(leader, CLONE_NEWNS) < 0) return fail_errno(errno, "Cannot enter the instance's mounts");
  unique_fd root{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!root) return fail_errno(errno, "Cannot open the instance's root");
  return root;
}

/// What the device is mounted on: made by the instance's root where it is missing. Links of the instance resolve inside
/// it.
outcome<unique_fd> make_target(int root, const std::string& path, bool directory, uid_t owner) {
  file_identity as_owner{owner};
  ::umask(022);
  if (directory) return make_directories(root, path);
  auto parts = split(path);
  if (!parts) return tl::unexpected{parts.error()};
  if (auto parent = make_directories(root, parts->parent); !parent) return parent;
  if (auto there = open_confined(root, path, O_PATH)) return there;
  if (!open_confined(root, path, O_WRONLY | O_CREAT | O_EXCL | O_NONBLOCK, 0644))
    return fail_errno(errno, "Cannot make " + path);
  auto made = open_confined(root, path, O_PATH);
  if (!made) return fail_errno(errno, "Cannot open " + path);
  return made;
}

bool is_mount(int fd) {
  struct statx facts {};
  return ::statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_TYPE, &facts) == 0 &&
         (facts.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0 &&
         (facts.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/// What a device looks like when it is mounted; what the instance has mounted there itself is not ours to take away.
struct look {
  bool is_node = false, is_tmpfs = false, known = true;
  struct stat source {};

  explicit look(schema::PlugJob::Reader request) {
    is_node = request.isNode();
    if (is_node) {
      source.st_rdev = ::makedev(request.getNode().getMajor(), request.getNode().getMinor());
      return;
    }
    auto mount = request.getMount();
    is_tmpfs = mount.getSource().size() == 0;
    if (is_tmpfs) return;
    auto file = open_source(text(mount.getSource()), text(mount.getBeneath()));
    known = file && ::fstat(file.get(), &source) == 0; // the host may have it no more
  }

  bool fits(int fd) const {
    struct stat there {};
    struct statfs system {};
    if (::fstat(fd, &there) < 0 || ::fstatfs(fd, &system) < 0) return false;
    if (is_node) return (S_ISCHR(there.st_mode) || S_ISBLK(there.st_mode)) && there.st_rdev == source.st_rdev;
    if (is_tmpfs) return system.f_type == TMPFS_MAGIC;
    return !known || (there.st_dev == source.st_dev && there.st_ino == source.st_ino);
  }
};

/// `proc`: /proc/self/fd of the host; a mount is named by descriptor, so that nobody can put a link in between.
outcome<void> detach(int root, int proc, const std::string& path, const look& device) {
  auto target = open_confined(root, path, O_PATH);
  if (!target || !is_mount(target.get()) || !device.fits(target.get())) return {};
  if (::fchdir(proc) < 0 || ::umount2(std::to_string(target.get()).c_str(), MNT_DETACH) < 0)
    return fail_errno(errno, "Cannot take away " + path);
  return {};
}

/// The empty file that a node was mounted on.
void remove_target(int root, const std::string& path, uid_t owner) {
  file_identity as_owner{owner};
  auto file = open_confined(root, path, O_PATH);
  struct stat st {};
  auto parts = split(path);
  if (!file || ::fstat(file.get(), &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > 0 || !parts) return;
  if (auto parent = open_confined(root, parts->parent, O_PATH | O_DIRECTORY))
    ::unlinkat(parent.get(), parts->name.c_str(), 0);
}

outcome<void> add(const device_tree& tree, int leader, const std::string& path, uid_t owner) {
  auto root = enter_mounts(leader);
  if (!root) return tl::unexpected{root.error()};
  auto target = make_target(root->get(), path, tree.is_directory, owner);
  if (!target) return tl::unexpected{target.error()};
  if (auto done = attach(tree, target->get()); !done)
    return fail(done.error().code, "Cannot mount on " + path + ": " + done.error().message);
  return {};
}

outcome<void> take_away(schema::PlugJob::Reader request, int leader, uid_t owner) {
  auto proc = open_proc_self_fd();
  look device{request};
  auto root = enter_mounts(leader);
  if (!root) return tl::unexpected{root.error()};
  auto path = path_of(request);
  if (auto done = detach(root->get(), proc.get(), path, device); !done) return done;
  if (request.isNode()) remove_target(root->get(), path, owner);
  return {};
}

} // namespace

outcome<void> run_plug(job_context& job, schema::PlugJob::Reader request) {
  auto leader = open_leader(request.getLeader(), request.getHostId(), request.getIdCount());
  if (!leader) return tl::unexpected{leader.error()};
  uid_t owner = request.getIdCount() > 0 ? request.getHostId() : 0;
  outcome<void> done;
  if (request.getRemove()) {
    done = take_away(request, leader->get(), owner);
  } else {
    auto tree = open_device(job, request);
    if (!tree) return tl::unexpected{tree.error()};
    if (tree->mount) done = add(*tree, leader->get(), path_of(request), owner);
  }
  if (!done) return done;
  return send_message(job.socket, done_answer());
}

outcome<void> run_device_rule(job_context& job, schema::DeviceRule::Reader request) {
  auto c = open_container(job);
  if (!c) return tl::unexpected{c.error()};
  auto key = request.getAllow() ? "devices.allow" : "devices.deny";
  if (!(*c)->set_cgroup_item(c->get(), key, text(request.getRule()).c_str()))
    return fail(fault::backend_failed, "liblxc cannot change the instance's device rules");
  return send_message(job.socket, done_answer());
}

} // namespace troupe::lxc
