#pragma once

#include "backends/storage/storage_driver.hpp"
#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A place in .incomplete where a volume is made before it is published; nothing is there yet. Dropped unpublished, it
/// goes to the trash; if we die, it is a leftover for the sweep. Movable; whoever holds it owns the place.
struct staged_volume {
  std::string path, trash;

  staged_volume(std::string place, std::string grave);
  staged_volume(staged_volume&& other) noexcept;
  staged_volume& operator=(staged_volume&&) = delete;
  ~staged_volume();
};

/// The directories of one pool: POOL/{containers,virtual-machines,snapshots,images,custom}/NAME and, 0700, .trash,
/// .incomplete and .sealed. A volume becomes visible and disappears by one rename, so that what is visible is complete
/// after any crash. Stateless but for its names; every call may come from any thread, and from a second object on the
/// same pool.
class pool_layout {
public:
  pool_layout(std::string pool, std::string directory);

  const std::string& directory() const noexcept { return directory_; }
  /// Makes what is missing. Fails with `in_use` where the directory holds something that is not ours.
  outcome<void> make() const;
  /// Whether nothing is there that `make` would not have made.
  bool is_only_ours() const;
  /// Undoes `make`: `in_use` while a volume is left. The trash must be empty.
  outcome<void> unmake() const;
  /// `wrong_state` unless `make` was done here: the disk may not be mounted.
  outcome<void> require_made() const;
  /// The same, and makes directories that an older version did not know.
  outcome<void> complete() const;

  /// `invalid` unless kind and name are one safe path component each.
  outcome<void> check(const volume_id& id) const;
  std::string path(const volume_id& id) const;
  /// Checks the name and that the pool is there: whether the volume exists.
  outcome<bool> exists(const volume_id& id) const;
  outcome<std::vector<volume_id>> list() const;
  outcome<pool_space> space() const;

  outcome<staged_volume> stage() const;
  /// One rename. A volume that exists already stays; ours then goes to the trash.
  outcome<void> publish(staged_volume staged, const volume_id& id) const;
  outcome<void> rename(const volume_id& from, const volume_id& to) const;
  /// One rename into the trash; succeeds where nothing is.
  outcome<void> discard(const volume_id& id) const;
  std::string incomplete() const { return directory_ + "/.incomplete"; }
  /// What an earlier process left there. A pool belongs to one process at a time.
  outcome<std::vector<std::string>> leftovers() const;
  std::string trash() const { return directory_ + "/.trash"; }
  outcome<std::vector<std::string>> trash_entries() const;

  /// Cloning from an image volume holds it shared (waiting for a few system calls at most), destroying it exclusive
  /// (`in_use` while it is being cloned). `not_found` where it is gone by then.
  outcome<unique_fd> lock_image(const volume_id& id, bool exclusive) const;
  std::string seal_mark(const volume_id& id) const { return directory_ + "/.sealed/" + id.name; }

private:
  outcome<void> make_directories() const;

  std::string pool_;
  std::string directory_;
};

/// Names in a directory without "." and ".."; `not_found` where it is missing.
outcome<std::vector<std::string>> read_names(const std::string& directory);
outcome<unique_fd> open_directory(const std::string& path);

} // namespace troupe
