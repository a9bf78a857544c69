#include "backends/storage/dir_driver.hpp"

#include "backends/storage/mounts.hpp"
#include "backends/storage/overlay_probe.hpp"
#include "backends/storage/pool_config.hpp"
#include "backends/storage/pool_volumes.hpp"
#include "backends/storage/root_disk.hpp"
#include "backends/storage/tree.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {

dir_driver::dir_driver(pool_place place, config_map config)
    : place_{std::move(place)}, config_{std::move(config)}, layout_{place_.name, place_.directory} {}

storage_traits dir_driver::traits() const noexcept { return {.name = "dir", .overlays = overlays_}; }

outcome<config_map> dir_driver::complete(config_map config) {
  if (auto checked = check_pool_config("dir", config); !checked) return tl::unexpected{checked.error()};
  std::string source{get(config, "source")};
  if (source.empty()) {
    config.insert_or_assign("source", place_.directory);
  } else if (source != place_.directory) {
    if (auto usable = check_empty_source(source, place_); !usable) return tl::unexpected{usable.error()};
    config.try_emplace("volatile.initial_source", source);
  }
  std::lock_guard lock{pool_};
  return config_ = std::move(config);
}

std::string dir_driver::bound_source() const {
  auto source = get(config_, "source");
  return source == place_.directory ? "" : std::string{source};
}

outcome<void> dir_driver::bring_up() {
  auto source = bound_source();
  if (source.empty()) return {};
  if (!is_mount_point(place_.directory)) return bind_mount(source, place_.directory);
  if (is_same_file(source, place_.directory)) return {};
  return fail(fault::wrong_state, "Something else than the storage pool is mounted on " + place_.directory);
}

// A trash entry: removed here and now, or with the trash if we die.
void dir_driver::probe() {
  auto name = random_uuid();
  overlays_ = can_overlay_idmapped(layout_.trash() + '/' + name);
  if (auto trash = open_directory(layout_.trash())) (void)remove_tree(trash->get(), name);
}

outcome<void> dir_driver::create() {
  std::lock_guard lock{pool_};
  if (auto made = make_pool_directory(place_.directory); !made) return made;
  if (auto up = bring_up(); !up) return up;
  if (auto made = layout_.make(); !made) return made;
  probe();
  return {};
}

outcome<void> dir_driver::destroy() {
  std::lock_guard lock{pool_};
  if (access(place_.directory.c_str(), F_OK) != 0) return {};
  // Where the source is gone (or never was) nothing of ours can be on it.
  if (auto up = bring_up(); !up && up.error().code != fault::not_found) return up;
  if (auto unmade = unmake_pool(layout_); !unmade) return unmade;
  if (!bound_source().empty() && is_mount_point(place_.directory))
    if (auto down = detach_mount(place_.directory); !down) return down;
  return remove_pool_directory(place_.directory);
}

outcome<void> dir_driver::open() {
  std::lock_guard lock{pool_};
  if (!bound_source().empty())
    if (auto made = make_pool_directory(place_.directory); !made) return made;
  if (auto up = bring_up(); !up) return up;
  if (auto made = layout_.complete(); !made) return made;
  probe();
  return {};
}

outcome<void> dir_driver::close() {
  std::lock_guard lock{pool_};
  auto source = bound_source();
  if (source.empty() || !is_mount_point(place_.directory) || !is_same_file(source, place_.directory)) return {};
  return unmount(place_.directory);
}

outcome<std::vector<volume_id>> dir_driver::list() { return layout_.list(); }

outcome<void> dir_driver::create_volume(const volume_id& id) {
  auto there = layout_.exists(id);
  if (!there) return tl::unexpected{there.error()};
  if (*there) return {};
  if (id.kind == "images") unlink(layout_.seal_mark(id).c_str()); // a new one is not sealed, whatever was left behind
  auto staged = layout_.stage();
  if (!staged) return tl::unexpected{staged.error()};
  if (mkdir(staged->path.c_str(), 0700) != 0) return fail_errno(errno, "Cannot make the volume " + layout_.path(id));
  if (auto made = make_root(staged->path, id); !made) return made;
  return layout_.publish(std::move(*staged), id);
}

outcome<void> dir_driver::fill_volume(const volume_id& id, const volume_filler& fill) {
  auto there = layout_.exists(id);
  if (!there) return tl::unexpected{there.error()};
  if (*there) return {};
  auto staged = layout_.stage();
  if (!staged) return tl::unexpected{staged.error()};
  if (mkdir(staged->path.c_str(), 0700) != 0) return fail_errno(errno, "Cannot make the volume " + layout_.path(id));
  if (auto filled = fill(staged->path); !filled) return filled;
  if (auto synced = sync_volume(staged->path, id); !synced) return synced;
  return layout_.publish(std::move(*staged), id);
}

namespace {

bool may_overlay(const volume_id& id) { return id.kind == "containers" || id.kind == "snapshots"; }

} // namespace

std::string dir_driver::lower_of(const volume_id& id) const {
  char text[NAME_MAX + 1];
  if (!may_overlay(id) || !layout_.check(id)) return {};
  auto size = readlink((layout_.path(id) + "/lower").c_str(), text, sizeof text);
  if (size <= 0) return {};
  std::string image(text, static_cast<size_t>(size));
  // A plain volume has a rootfs or a disk, and what else is in it may have come with the image: such a link says
  // nothing.
  bool plain = access((layout_.path(id) + "/rootfs").c_str(), F_OK) == 0 || has_root_disk(layout_.path(id));
  return plain || !layout_.check({"images", image}) ? "" : image;
}

outcome<void> dir_driver::fill_overlay(const std::string& directory, const std::string& image) const {
  for (const char* name : {"/work", "/merged"})
    if (mkdir((directory + name).c_str(), 0700) != 0) return fail_errno(errno, "Cannot make " + directory + name);
  // A link, because its text is written with the directory itself: it cannot be empty after a power cut.
  if (symlink(image.c_str(), (directory + "/lower").c_str()) != 0)
    return fail_errno(errno, "Cannot make " + directory + "/lower");
  return {};
}

outcome<void> dir_driver::copy_volume(const volume_id& source, const volume_id& target) const {
  auto lower = lower_of(source);
  if (!lower.empty() && !may_overlay(target))
    return fail(fault::unsupported, "A container on an overlay can only be copied to a container or a snapshot");
  auto staged = layout_.stage();
  if (!staged) return tl::unexpected{staged.error()};
  auto from = layout_.path(source);
  outcome<void> done;
  if (lower.empty()) {
    done = copy_tree(from, staged->path);
  } else {
    if (mkdir(staged->path.c_str(), 0700) != 0) return fail_errno(errno, "Cannot make " + staged->path);
    done = fill_overlay(staged->path, lower);
    if (done) done = copy_tree(from + "/upper", staged->path + "/upper");
  }
  if (!done) return done;
  if (auto synced = sync_volume(staged->path, target); !synced) return synced;
  return layout_.publish(std::move(*staged), target);
}

outcome<void> dir_driver::clone_volume(const volume_id& source, const volume_id& target) {
  auto from = layout_.exists(source), to = layout_.exists(target);
  if (!from) return tl::unexpected{from.error()};
  if (!to) return tl::unexpected{to.error()};
  if (*to) return {};
  bool image = source.kind == "images";
  if (!*from) return fail(fault::not_found, "The storage volume " + layout_.path(source) + " does not exist");
  if (auto alike = check_clone(layout_, source, target); !alike) return alike;
  auto claim = image ? layout_.lock_image(source, false) : unique_fd{};
  if (!claim) return tl::unexpected{claim.error()};
  if (image && !is_sealed(source))
    return fail(fault::wrong_state, "The image volume " + layout_.path(source) + " is not complete");
  if (!image || !overlays_ || target.kind != "containers") return copy_volume(source, target);
  auto staged = layout_.stage();
  if (!staged) return tl::unexpected{staged.error()};
  for (const char* name : {"", "/upper"})
    if (mkdir((staged->path + name).c_str(), 0700) != 0)
      return fail_errno(errno, "Cannot make the volume " + layout_.path(target));
  if (auto filled = fill_overlay(staged->path, source.name); !filled) return filled;
  return layout_.publish(std::move(*staged), target);
}

outcome<void> dir_driver::seal_volume(const volume_id& id) {
  if (auto sealable = check_sealable(layout_, id); !sealable) return sealable;
  if (is_sealed(id)) return {};
  if (auto synced = sync_volume(layout_.path(id), id); !synced || id.kind != "images") return synced;
  unique_fd mark{::open(layout_.seal_mark(id).c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!mark || fsync(mark.get()) != 0) return fail_errno(errno, "Cannot seal the volume " + layout_.path(id));
  return {};
}

bool dir_driver::is_sealed(const volume_id& id) {
  return id.kind == "images" && layout_.exists(id).value_or(false) && access(layout_.seal_mark(id).c_str(), F_OK) == 0;
}

outcome<void> dir_driver::rename_volume(const volume_id& from, const volume_id& to) { return layout_.rename(from, to); }

outcome<void> dir_driver::destroy_image(const volume_id& id) const {
  auto claim = layout_.lock_image(id, true);
  if (!claim) return tl::unexpected{claim.error()};
  auto volumes = layout_.list();
  if (!volumes) return tl::unexpected{volumes.error()};
  for (auto& volume : *volumes)
    if (lower_of(volume) == id.name)
      return fail(fault::in_use, "The image volume " + id.name + " is in use by " + volume.kind + '/' + volume.name);
  // The mark first: a crash in between leaves an incomplete image, never a complete one without its mark's volume.
  if (unlink(layout_.seal_mark(id).c_str()) != 0 && errno != ENOENT)
    return fail_errno(errno, "Cannot unseal the volume " + layout_.path(id));
  return layout_.discard(id);
}

outcome<void> dir_driver::destroy_volume(const volume_id& id) {
  auto there = layout_.exists(id);
  if (!there) return tl::unexpected{there.error()};
  if (!*there) return {};
  return id.kind == "images" ? destroy_image(id) : layout_.discard(id);
}

outcome<void> dir_driver::empty_trash() {
  if (auto made = layout_.require_made(); !made) return made;
  return empty_pool_trash(layout_);
}

std::string dir_driver::path(const volume_id& id) const {
  return lower_of(id).empty() ? layout_.path(id) : layout_.path(id) + "/upper";
}

outcome<root_mount> dir_driver::root(const volume_id& id) {
  auto there = layout_.exists(id);
  if (!there) return tl::unexpected{there.error()};
  auto path = layout_.path(id);
  if (!*there) return fail(fault::not_found, "The storage volume " + path + " does not exist");
  root_mount found;
  found.path = path;
  volume_id lower{"images", lower_of(id)};
  if (lower.name.empty()) return found;
  if (!is_sealed(lower))
    return fail(fault::corrupt, "The image volume " + lower.name + " below " + path + " is missing");
  found.path += "/merged";
  found.lower = layout_.path(lower);
  found.upper = path + "/upper";
  found.work = path + "/work";
  return found;
}

outcome<void> dir_driver::limit_volume(const volume_id& id, uint64_t bytes) {
  if (auto good = layout_.check(id); !good) return good;
  return is_machine(layout_, id) ? limit_machine(layout_, id, bytes) : storage_driver::limit_volume(id, bytes);
}

outcome<uint64_t> dir_driver::usage(const volume_id& id) { return volume_usage(layout_, id); }

outcome<pool_space> dir_driver::space() { return layout_.space(); }

} // namespace troupe
