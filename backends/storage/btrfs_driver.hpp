#pragma once

#include "backends/storage/pool_layout.hpp"
#include "backends/storage/storage_driver.hpp"

#include <mutex>

namespace troupe {

/// Subvolumes in a btrfs: of a loop file that we make, of a block device that we format, or in an existing directory on
/// a btrfs. A sealed image is a read-only subvolume, a clone is a snapshot. A file system that we made is known again
/// by its UUID (volatile.fs_uuid).
class btrfs_driver final : public storage_driver {
public:
  btrfs_driver(pool_place place, config_map config);
  storage_traits traits() const noexcept override;
  outcome<config_map> complete(config_map config) override;
  outcome<void> create() override;
  outcome<void> destroy() override;
  outcome<void> open() override;
  outcome<void> close() override;
  outcome<std::vector<volume_id>> list() override;
  outcome<void> create_volume(const volume_id& id) override;
  outcome<void> fill_volume(const volume_id& id, const volume_filler& fill) override;
  outcome<void> clone_volume(const volume_id& source, const volume_id& target) override;
  outcome<void> seal_volume(const volume_id& id) override;
  bool is_sealed(const volume_id& id) override;
  outcome<void> rename_volume(const volume_id& from, const volume_id& to) override;
  outcome<void> destroy_volume(const volume_id& id) override;
  outcome<void> empty_trash() override;
  std::string path(const volume_id& id) const override;
  outcome<root_mount> root(const volume_id& id) override;
  outcome<uint64_t> usage(const volume_id& id) override;
  outcome<void> limit_volume(const volume_id& id, uint64_t bytes) override;
  std::optional<uint64_t> quick_usage(const volume_id& id) override;
  outcome<pool_space> space() override;

private:
  enum class origin { loop_file, block_device, directory };

  std::string loop_file() const;
  origin origin_of(std::string_view source) const;
  origin where() const { return origin_of(get(config_, "source")); }
  outcome<void> complete_loop(config_map& config) const;
  outcome<void> complete_source(config_map& config) const;
  bool is_ours_mounted() const;
  outcome<void> bring_up() const;
  outcome<std::string> find_device() const;
  outcome<void> make_file_system() const;
  outcome<void> make_loop_file() const;
  outcome<void> unmake_contents() const;
  outcome<void> unmake_file_system() const;
  outcome<void> publish(staged_volume staged, const volume_id& id) const;

  const pool_place place_;
  config_map config_;
  const pool_layout layout_;
  std::mutex pool_; // create, open, close, destroy
};

} // namespace troupe
