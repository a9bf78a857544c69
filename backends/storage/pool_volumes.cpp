#include "backends/storage/pool_volumes.hpp"

#include "backends/storage/mounts.hpp"
#include "backends/storage/root_disk.hpp"
#include "backends/storage/tree.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {

outcome<void> check_empty_source(const std::string& source, const pool_place& place) {
  auto names = read_names(source);
  if (!names) return fail(fault::invalid, "The source " + source + " is not a directory that can be used");
  if (is_same_file(source, place.directory))
    return fail(fault::invalid, "The source " + source + " is the place where the pool is mounted");
  bool empty = std::all_of(names->begin(), names->end(), [](const std::string& name) { return name == "lost+found"; });
  return empty ? outcome<void>{} : fail(fault::invalid, "The source " + source + " is not empty");
}

outcome<void> make_pool_directory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0711) == 0)
    return chmod(directory.c_str(), 0711) == 0 ? outcome<void>{}
                                               : fail_errno(errno, "Cannot set the mode of " + directory);
  if (errno != EEXIST) return fail_errno(errno, "Cannot make " + directory);
  return {};
}

outcome<void> remove_pool_directory(const std::string& directory) {
  if (rmdir(directory.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, "Cannot remove " + directory);
  return {};
}

outcome<void> make_root(const std::string& volume, const volume_id& id) {
  if (id.kind == "custom") // nobody else enters the folder that it lies in
    return chmod(volume.c_str(), 0711) == 0 ? outcome<void>{} : fail_errno(errno, "Cannot set the mode of " + volume);
  if (id.kind == "virtual-machines") {
    auto directory = open_directory(volume);
    if (!directory) return tl::unexpected{directory.error()};
    auto disk = make_root_disk(directory->get());
    return disk ? outcome<void>{} : tl::unexpected{disk.error()};
  }
  auto rootfs = volume + "/rootfs";
  if (mkdir(rootfs.c_str(), 0755) != 0 || chmod(rootfs.c_str(), 0755) != 0) // whatever the umask says
    return fail_errno(errno, "Cannot make " + rootfs);
  return {};
}

bool is_machine(const pool_layout& layout, const volume_id& id) {
  return id.kind == "virtual-machines" || (id.kind == "snapshots" && has_root_disk(layout.path(id)));
}

outcome<void> limit_machine(const pool_layout& layout, const volume_id& id, uint64_t bytes) {
  return id.kind == "snapshots" ? outcome<void>{} : grow_root_disk(layout.path(id), bytes);
}

outcome<void> check_clone(const pool_layout& layout, const volume_id& source, const volume_id& target) {
  bool machine = has_root_disk(layout.path(source));
  if (target.kind == "virtual-machines" && !machine)
    return fail(fault::invalid, "The storage volume " + layout.path(source) + " is not of a virtual machine");
  if (target.kind == "containers" && machine)
    return fail(fault::invalid, "The storage volume " + layout.path(source) + " is of a virtual machine");
  return {};
}

outcome<void> check_sealable(const pool_layout& layout, const volume_id& id) {
  auto there = layout.exists(id);
  if (!there) return tl::unexpected{there.error()};
  if (id.kind != "images" && id.kind != "snapshots")
    return fail(fault::invalid, "Only the volume of an image or a snapshot can be sealed");
  if (!*there) return fail(fault::not_found, "The storage volume " + layout.path(id) + " does not exist");
  return {};
}

outcome<void> sync_volume(const std::string& volume, const volume_id& id) {
  auto fd = open_directory(volume);
  if (!fd) return tl::unexpected{fd.error()};
  bool closed = id.kind == "custom" || (fchown(fd->get(), 0, 0) == 0 && fchmod(fd->get(), 0700) == 0);
  if (!closed || syncfs(fd->get()) != 0) return fail_errno(errno, "Cannot bring the volume " + volume + " to the disk");
  return {};
}

outcome<uint64_t> volume_usage(const pool_layout& layout, const volume_id& id) {
  if (auto there = layout.exists(id); !there) return tl::unexpected{there.error()};
  auto fd = open_directory(layout.path(id));
  if (!fd) return tl::unexpected{fd.error()};
  return tree_usage(fd->get());
}

namespace {

// One that cannot be removed does not keep the others. A folder that is not there has nothing.
outcome<void> remove_all(const std::string& folder, const outcome<std::vector<std::string>>& names) {
  if (!names) return names.error().code == fault::not_found ? outcome<void>{} : tl::unexpected{names.error()};
  if (names->empty()) return {};
  auto there = open_directory(folder);
  if (!there) return tl::unexpected{there.error()};
  outcome<void> first;
  for (auto& name : *names)
    if (auto removed = remove_tree(there->get(), name); !removed && first) first = removed;
  return first;
}

} // namespace

outcome<void> empty_pool_trash(const pool_layout& layout) {
  // In its place: what was to be sent is a read-only subvolume, which cannot move.
  auto swept = remove_all(layout.incomplete(), layout.leftovers());
  auto emptied = remove_all(layout.trash(), layout.trash_entries());
  return swept ? emptied : swept;
}

outcome<void> unmake_pool(const pool_layout& layout) {
  if (!layout.is_only_ours()) return {};
  if (auto emptied = empty_pool_trash(layout); !emptied) return emptied;
  return layout.unmake();
}

} // namespace troupe
