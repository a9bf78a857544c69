#include "backends/storage/btrfs_driver.hpp"

#include "backends/storage/btrfs_format.hpp"
#include "backends/storage/btrfs_quota.hpp"
#include "backends/storage/btrfs_subvolumes.hpp"
#include "backends/storage/mounts.hpp"
#include "backends/storage/pool_config.hpp"
#include "backends/storage/pool_volumes.hpp"
#include "backends/storage/root_disk.hpp"
#include "backends/storage/size.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

namespace troupe {

btrfs_driver::btrfs_driver(pool_place place, config_map config)
    : place_{std::move(place)}, config_{std::move(config)}, layout_{place_.name, place_.directory} {}

storage_traits btrfs_driver::traits() const noexcept {
  return {.name = "btrfs", .snapshots = true, .clones = true, .quotas = true};
}

std::string btrfs_driver::loop_file() const { return place_.disks + '/' + place_.name + ".img"; }

btrfs_driver::origin btrfs_driver::origin_of(std::string_view source) const {
  if (source.empty() || source == loop_file()) return origin::loop_file;
  struct stat found;
  bool directory = stat(std::string{source}.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
  // Only file systems that we made have a UUID, and what is gone must stay what it was.
  return directory || !config_.contains("volatile.fs_uuid") ? origin::directory : origin::block_device;
}

outcome<config_map> btrfs_driver::complete(config_map config) {
  if (auto checked = check_pool_config("btrfs", config); !checked) return tl::unexpected{checked.error()};
  auto source = get(config, "source");
  auto completed = source.empty() || source == loop_file() ? complete_loop(config) : complete_source(config);
  if (!completed) return tl::unexpected{completed.error()};
  std::lock_guard lock{pool_};
  return config_ = std::move(config);
}

// As LXD: 20 % of what is free, in whole GiB from 5 to 30.
outcome<void> btrfs_driver::complete_loop(config_map& config) const {
  if (get(config, "size").empty()) {
    struct statfs facts;
    if (statfs(place_.disks.c_str(), &facts) != 0) return fail_errno(errno, "Cannot measure " + place_.disks);
    auto free_gib = (static_cast<uint64_t>(facts.f_bavail) * static_cast<uint64_t>(facts.f_bsize)) >> 30;
    if (free_gib < 5)
      return fail(fault::invalid, "There is less than 5GiB free for a storage pool: give the config key size");
    config.insert_or_assign("size", std::to_string(std::clamp<uint64_t>(free_gib / 5, 5, 30)) + "GiB");
  }
  config.insert_or_assign("source", loop_file());
  config.try_emplace("volatile.fs_uuid", random_uuid());
  return {};
}

outcome<void> btrfs_driver::complete_source(config_map& config) const {
  std::string source{get(config, "source")};
  auto refuse = [](std::string text) { return fail(fault::invalid, std::move(text)); };
  if (config.contains("size")) return refuse("The config key size is only for a storage pool in a loop file");
  struct stat found;
  if (stat(source.c_str(), &found) != 0) return refuse("The source " + source + " does not exist");
  if (S_ISBLK(found.st_mode)) {
    config.try_emplace("volatile.fs_uuid", random_uuid());
  } else if (S_ISDIR(found.st_mode)) {
    if (btrfs_uuid_at(source).empty()) return refuse("The source " + source + " is not on a btrfs");
    if (config.contains("btrfs.mount_options"))
      return refuse("The config key btrfs.mount_options does nothing for an existing directory");
    if (auto usable = check_empty_source(source, place_); !usable) return usable;
  } else {
    return refuse("The source " + source + " is neither a block device nor a directory");
  }
  config.try_emplace("volatile.initial_source", source);
  return {};
}

bool btrfs_driver::is_ours_mounted() const {
  std::string source{get(config_, "source")};
  if (!is_mount_point(place_.directory)) return false;
  if (where() == origin::directory) return is_same_file(source, place_.directory);
  return btrfs_uuid_at(place_.directory) == get(config_, "volatile.fs_uuid");
}

// Device names may change with a boot; the UUID does not.
outcome<std::string> btrfs_driver::find_device() const {
  std::string uuid{get(config_, "volatile.fs_uuid")}, source{get(config_, "source")};
  if (!uuid.empty() && btrfs_uuid_on(source) == uuid) return source;
  auto by_uuid = "/dev/disk/by-uuid/" + uuid;
  if (where() == origin::block_device && !uuid.empty() && btrfs_uuid_on(by_uuid) == uuid) return by_uuid;
  return fail(fault::not_found, "The file system of storage pool " + place_.name + " is not on " + source);
}

outcome<void> btrfs_driver::bring_up() const {
  if (is_ours_mounted()) return {};
  if (is_mount_point(place_.directory))
    return fail(fault::wrong_state, "Something else than the storage pool is mounted on " + place_.directory);
  std::string source{get(config_, "source")};
  if (where() == origin::directory) return bind_mount(source, place_.directory);
  auto device = find_device();
  if (!device) return tl::unexpected{device.error()};
  std::string options{get(config_, "btrfs.mount_options", "user_subvol_rm_allowed")};
  if (where() == origin::block_device) return mount_btrfs(*device, place_.directory, options);
  auto loop = attach_loop(*device);
  if (!loop) return tl::unexpected{loop.error()};
  // Freed blocks become holes in the loop file; not while a transaction commits.
  options += options.empty() ? "discard=async" : ",discard=async";
  return mount_btrfs(loop->path, place_.directory, options);
}

outcome<void> btrfs_driver::make_loop_file() const {
  auto file = loop_file();
  auto size = parse_size(get(config_, "size"));
  if (!size) return tl::unexpected{size.error()};
  unique_fd fd{::open(file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!fd) return fail_errno(errno, "Cannot make the loop file " + file);
  turn_off_cow(fd.get());
  if (ftruncate(fd.get(), static_cast<off_t>(*size)) != 0)
    return fail_errno(errno, "Cannot size the loop file " + file);
  return {};
}

outcome<void> btrfs_driver::make_file_system() const {
  if (where() == origin::directory) return {};
  bool loop = where() == origin::loop_file;
  std::string uuid{get(config_, "volatile.fs_uuid")}, device{get(config_, "source")};
  if (loop && btrfs_uuid_on(device).empty())
    if (auto made = make_loop_file(); !made) return made;
  return make_btrfs(device, uuid, place_.name, loop);
}

outcome<void> btrfs_driver::create() {
  std::lock_guard lock{pool_};
  if (get(config_, "source").empty() || (where() == origin::loop_file && !config_.contains("volatile.fs_uuid")))
    return fail(fault::internal, "The config of storage pool " + place_.name + " was not completed");
  if (auto made = make_pool_directory(place_.directory); !made) return made;
  if (auto made = is_ours_mounted() ? outcome<void>{} : make_file_system(); !made) return made;
  if (auto up = bring_up(); !up) return up;
  if (where() != origin::directory && chmod(place_.directory.c_str(), 0711) != 0)
    return fail_errno(errno, "Cannot set the mode of " + place_.directory);
  return layout_.make();
}

outcome<void> btrfs_driver::unmake_contents() const {
  if (where() == origin::directory) return unmake_pool(layout_);
  auto volumes = layout_.list();
  if (volumes && !volumes->empty())
    return fail(fault::in_use, "The storage pool " + place_.name + " still holds " + volumes->front().kind + '/' +
                                   volumes->front().name);
  return {};
}

outcome<void> btrfs_driver::unmake_file_system() const {
  std::string uuid{get(config_, "volatile.fs_uuid")};
  if (where() == origin::block_device) {
    std::string device = find_device().value_or(std::string{get(config_, "source")});
    return access(device.c_str(), F_OK) == 0 ? unmake_btrfs(device, uuid) : outcome<void>{};
  }
  auto found = btrfs_uuid_on(loop_file());
  if (where() == origin::directory || (!found.empty() && found != uuid)) return {};
  if (unlink(loop_file().c_str()) != 0 && errno != ENOENT) return fail_errno(errno, "Cannot remove " + loop_file());
  return {};
}

outcome<void> btrfs_driver::destroy() {
  std::lock_guard lock{pool_};
  bool mountable = access(place_.directory.c_str(), F_OK) == 0;
  auto up = mountable ? bring_up() : outcome<void>{};
  // What was never formatted or is gone holds nothing of ours.
  if (!up && up.error().code != fault::not_found) return up;
  if (mountable && up) {
    if (auto unmade = unmake_contents(); !unmade) return unmade;
    auto down = where() == origin::directory ? detach_mount(place_.directory) : end_file_system(place_.directory);
    if (!down) return down;
  }
  if (auto unmade = unmake_file_system(); !unmade) return unmade;
  return remove_pool_directory(place_.directory);
}

outcome<void> btrfs_driver::open() {
  std::lock_guard lock{pool_};
  if (auto made = make_pool_directory(place_.directory); !made) return made;
  if (auto up = bring_up(); !up) return up;
  return layout_.complete();
}

outcome<void> btrfs_driver::close() {
  std::lock_guard lock{pool_};
  return is_ours_mounted() ? unmount(place_.directory) : outcome<void>{};
}

outcome<std::vector<volume_id>> btrfs_driver::list() { return layout_.list(); }

outcome<void> btrfs_driver::create_volume(const volume_id& id) {
  auto there = layout_.exists(id);
  if (!there) return tl::unexpected{there.error()};
  if (*there) return {};
  auto staged = layout_.stage();
  if (!staged) return tl::unexpected{staged.error()};
  if (auto made = make_subvolume(staged->path); !made) return made;
  if (chmod(staged->path.c_str(), 0700) != 0) return fail_errno(errno, "Cannot set the mode of " + staged->path);
  if (auto made = make_root(staged->path, id); !made) return made;
  return layout_.publish(std::move(*staged), id);
}

outcome<void> btrfs_driver::fill_volume(const volume_id& id, const volume_filler& fill) {
  auto there = layout_.exists(id);
  if (!there) return tl::unexpected{there.error()};
  if (*there) return {};
  auto staged = layout_.stage();
  if (!staged) return tl::unexpected{staged.error()};
  if (auto made = make_subvolume(staged->path); !made) return made;
  if (chmod(staged->path.c_str(), 0700) != 0) return fail_errno(errno, "Cannot set the mode of " + staged->path);
  if (auto filled = fill(staged->path); !filled) return filled;
  if (auto synced = sync_volume(staged->path, id); !synced) return synced;
  return publish(std::move(*staged), id);
}

outcome<void> btrfs_driver::publish(staged_volume staged, const volume_id& id) const {
  if (auto published = layout_.publish(std::move(staged), id); !published || id.kind != "snapshots") return published;
  // Behind the publishing: a read-only subvolume cannot move.
  auto made = open_directory(layout_.path(id));
  if (!made) return tl::unexpected{made.error()};
  if (!set_read_only(made->get(), true)) return fail_errno(errno, "Cannot seal the volume " + layout_.path(id));
  return {};
}

outcome<void> btrfs_driver::clone_volume(const volume_id& source, const volume_id& target) {
  auto from = layout_.exists(source), to = layout_.exists(target);
  if (!from) return tl::unexpected{from.error()};
  if (!to) return tl::unexpected{to.error()};
  if (*to) return {};
  if (!*from) return fail(fault::not_found, "The storage volume " + layout_.path(source) + " does not exist");
  if (auto alike = check_clone(layout_, source, target); !alike) return alike;
  if (source.kind == "images" && !is_sealed(source))
    return fail(fault::wrong_state, "The image volume " + layout_.path(source) + " is not complete");
  auto volume = open_directory(layout_.path(source));
  if (!volume) return tl::unexpected{volume.error()};
  auto staged = layout_.stage();
  if (!staged) return tl::unexpected{staged.error()};
  if (auto made = make_snapshot(volume->get(), staged->path); !made) return made;
  return publish(std::move(*staged), target);
}

outcome<void> btrfs_driver::seal_volume(const volume_id& id) {
  if (auto sealable = check_sealable(layout_, id); !sealable) return sealable;
  if (is_sealed(id)) return {};
  if (auto synced = sync_volume(layout_.path(id), id); !synced) return synced;
  auto volume = open_directory(layout_.path(id));
  if (!volume) return tl::unexpected{volume.error()};
  if (!set_read_only(volume->get(), true)) return fail_errno(errno, "Cannot seal the volume " + layout_.path(id));
  return {};
}

bool btrfs_driver::is_sealed(const volume_id& id) {
  if (id.kind != "images" || !layout_.check(id)) return false;
  auto volume = open_directory(layout_.path(id));
  return volume && is_subvolume(volume->get()) && is_read_only(volume->get());
}

outcome<void> btrfs_driver::rename_volume(const volume_id& from, const volume_id& to) {
  return layout_.rename(from, to);
}

outcome<void> btrfs_driver::destroy_volume(const volume_id& id) {
  auto there = layout_.exists(id);
  if (!there) return tl::unexpected{there.error()};
  if (!*there) return {};
  // A read-only subvolume cannot move to another directory. Unsealed it is incomplete, should we die here.
  if (auto volume = open_directory(layout_.path(id)); volume && !set_read_only(volume->get(), false))
    return fail_errno(errno, "Cannot unseal the volume " + layout_.path(id));
  return layout_.discard(id);
}

outcome<void> btrfs_driver::empty_trash() {
  if (auto made = layout_.require_made(); !made) return made;
  return empty_pool_trash(layout_);
}

std::string btrfs_driver::path(const volume_id& id) const { return layout_.path(id); }

outcome<root_mount> btrfs_driver::root(const volume_id& id) {
  auto there = layout_.exists(id);
  if (!there) return tl::unexpected{there.error()};
  if (!*there) return fail(fault::not_found, "The storage volume " + layout_.path(id) + " does not exist");
  root_mount whole;
  whole.path = layout_.path(id);
  return whole;
}

outcome<void> btrfs_driver::limit_volume(const volume_id& id, uint64_t bytes) {
  if (auto good = layout_.check(id); !good) return good;
  if (is_machine(layout_, id)) return limit_machine(layout_, id, bytes);
  auto volume = open_directory(layout_.path(id));
  return volume ? limit_subvolume(volume->get(), bytes) : tl::unexpected{volume.error()};
}

std::optional<uint64_t> btrfs_driver::quick_usage(const volume_id& id) {
  if (!layout_.check(id)) return std::nullopt;
  auto volume = open_directory(layout_.path(id));
  return volume ? subvolume_usage(volume->get()) : std::nullopt;
}

outcome<uint64_t> btrfs_driver::usage(const volume_id& id) {
  if (auto known = quick_usage(id)) return *known;
  return volume_usage(layout_, id);
}

outcome<pool_space> btrfs_driver::space() { return layout_.space(); }

} // namespace troupe
