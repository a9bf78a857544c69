#pragma once

#include "backends/instance/root_mount.hpp"
#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

struct storage_traits {
  std::string_view name;  // "btrfs"
  bool snapshots = false; // native, instant
  bool clones = false;    // copy on write below the file system
  bool overlays = false;  // clones are overlays of the image volume
  bool remote = false;
  bool quotas = false; // limit_volume works
};

/// `containers/c1`, `virtual-machines/v1`, `snapshots/UUID`, `images/FINGERPRINT`, `custom/default_v1`: the directory
/// of a volume inside a pool.
struct volume_id {
  std::string kind; // containers, virtual-machines, snapshots, images, custom
  std::string name;
  bool operator==(const volume_id&) const = default;
};

struct pool_space {
  uint64_t used = 0, total = 0;               // bytes
  uint64_t inodes_used = 0, inodes_total = 0; // 0 where the file system has no such count
};

/// Puts what a volume holds into its directory, which is there and empty.
using volume_filler = std::function<outcome<void>(const std::string& directory)>;

/// One pool on one backend. Calls may block and come from several blocking threads; calls on one volume are
/// serialised by its owner. Every call may be repeated: creating what exists and destroying what is gone succeed.
class storage_driver {
public:
  virtual ~storage_driver() = default;
  virtual storage_traits traits() const noexcept = 0;
  /// Completes and checks the config of a new pool ("source", "size" defaults); changes nothing on the host.
  virtual outcome<config_map> complete(config_map config) = 0;
  /// Makes the pool (file system, directories). `destroy` is its undo and removes everything that `create` made.
  virtual outcome<void> create() = 0;
  virtual outcome<void> destroy() = 0;
  /// Brings the pool up after a boot or a daemon start (mounts it). A pool that is up stays untouched.
  virtual outcome<void> open() = 0;
  virtual outcome<void> close() = 0;
  /// What is really there, to reconcile with.
  virtual outcome<std::vector<volume_id>> list() = 0;
  /// Empty, with rootfs/ for kinds containers and images, with an empty root.img for virtual-machines.
  virtual outcome<void> create_volume(const volume_id& id) = 0;
  /// What `fill` makes; visible when it is complete and on the disk. One that exists stays, and `fill` is not asked.
  virtual outcome<void> fill_volume(const volume_id& id, const volume_filler& fill) = 0;
  /// A copy-on-write clone (or overlay, or copy) of `source`, writable unless it is a snapshot. The source may be in
  /// use.
  virtual outcome<void> clone_volume(const volume_id& source, const volume_id& target) = 0;
  /// Makes an image volume read-only and safe to clone from. Only a sealed image volume is complete.
  virtual outcome<void> seal_volume(const volume_id& id) = 0;
  virtual bool is_sealed(const volume_id& id) = 0;
  virtual outcome<void> rename_volume(const volume_id& from, const volume_id& to) = 0;
  /// Fast: moves it to the pool's trash. `empty_trash` then does the slow part.
  virtual outcome<void> destroy_volume(const volume_id& id) = 0;
  virtual outcome<void> empty_trash() = 0;
  /// The directory of the volume as it is on disk (for an overlay: its upper directory).
  virtual std::string path(const volume_id& id) const = 0;
  virtual outcome<root_mount> root(const volume_id& id) = 0;
  /// What the volume may hold, in bytes; 0: no limit. fault::unsupported where the driver cannot. Of a virtual machine:
  /// how large its disk is, which every driver can, and which only grows (fault::invalid); 0: it stays.
  virtual outcome<void> limit_volume(const volume_id& id, uint64_t bytes);
  virtual outcome<uint64_t> usage(const volume_id& id) = 0; // bytes; may walk the tree
  /// The same where it takes no walk.
  virtual std::optional<uint64_t> quick_usage(const volume_id&) { return std::nullopt; }
  virtual outcome<pool_space> space() = 0;
};

/// `directory` is DIR/storage-pools/NAME (the mount point or link), `disks` is DIR/disks (loop files).
struct pool_place {
  std::string name;
  std::string directory;
  std::string disks;
};

/// The table of drivers; empty result: no such driver. See storage_drivers.cpp.
std::unique_ptr<storage_driver> make_storage_driver(std::string_view driver, pool_place place, config_map config);
/// Whether that driver can limit the size of a volume.
bool has_quotas(std::string_view driver);
/// Drivers this host can use, with the version of what stands behind each.
std::vector<std::pair<std::string, std::string>> supported_storage_drivers();

} // namespace troupe
