#include "backends/storage/volume_tree.hpp"

#include "backends/storage/pool_layout.hpp"
#include "backends/storage/root_disk.hpp"
#include "backends/storage/tree.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/mount.h>

namespace troupe {
namespace {

std::string through(const unique_fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

// By descriptors: paths of volumes may hold ',' or ':'.
outcome<unique_fd> mount_overlay(const root_mount& root) {
  auto upper = open_directory(root.upper), lower = open_directory(root.lower);
  if (!upper) return tl::unexpected{upper.error()};
  if (!lower) return tl::unexpected{lower.error()};
  unique_fd context{fsopen("overlay", FSOPEN_CLOEXEC)};
  auto layers = through(*upper) + ':' + through(*lower);
  if (!context || fsconfig(context.get(), FSCONFIG_SET_STRING, "lowerdir", layers.c_str(), 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return fail_errno(errno, "Cannot mount the overlay of " + root.path);
  unique_fd mount{fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID)};
  if (!mount) return fail_errno(errno, "Cannot mount the overlay of " + root.path);
  return mount;
}

outcome<unique_fd> open_overlay(const root_mount& root) {
  auto mount = mount_overlay(root);
  if (!mount) return mount;
  unique_fd top{openat(mount->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!top) return fail_errno(errno, "Cannot open the overlay of " + root.path);
  return top;
}

} // namespace

outcome<unique_fd> open_volume_tree(const root_mount& root) {
  return root.lower.empty() ? open_directory(root.path) : open_overlay(root);
}

outcome<unique_fd> open_volume_mount(const root_mount& root) {
  if (is_machine_volume(root.path)) return fail(fault::unsupported, "Virtual machines cannot be sent by rsync yet");
  return root.lower.empty() ? open_directory(root.path) : mount_overlay(root);
}

outcome<void> copy_between(storage_driver& from, const volume_id& source, storage_driver& to, const volume_id& target) {
  auto root = from.root(source);
  if (!root) return tl::unexpected{root.error()};
  return to.fill_volume(target, [&](const std::string& directory) -> outcome<void> {
    auto tree = open_volume_tree(*root);
    if (!tree) return tl::unexpected{tree.error()};
    return copy_tree(through(*tree) + "/.", directory);
  });
}

} // namespace troupe
