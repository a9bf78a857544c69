#pragma once

#include "backends/storage/pool_layout.hpp"
#include "backends/storage/storage_driver.hpp"

#include <atomic>
#include <mutex>

namespace troupe {

/// Plain directories on any file system. A container made from an image is an overlay on the image volume:
/// containers/NAME/{upper,work,merged} and `lower`, a link whose text names the image. Where overlays of idmapped
/// layers do not work it is a copy.
class dir_driver final : public storage_driver {
public:
  dir_driver(pool_place place, config_map config);
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
  outcome<pool_space> space() override;

private:
  std::string bound_source() const; // empty: the pool's own directory
  outcome<void> bring_up();
  void probe();
  std::string lower_of(const volume_id& id) const; // name of the image; empty: not an overlay
  outcome<void> fill_overlay(const std::string& directory, const std::string& image) const;
  outcome<void> copy_volume(const volume_id& source, const volume_id& target) const;
  outcome<void> destroy_image(const volume_id& id) const;

  const pool_place place_;
  config_map config_;
  const pool_layout layout_;
  std::atomic<bool> overlays_{false};
  std::mutex pool_; // create, open, close, destroy
};

} // namespace troupe
