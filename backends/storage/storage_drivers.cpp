#include "backends/storage/btrfs_driver.hpp"
#include "backends/storage/btrfs_format.hpp"
#include "backends/storage/dir_driver.hpp"
#include "backends/storage/storage_driver.hpp"

#include <utility>

namespace troupe {
namespace {

using driver_ptr = std::unique_ptr<storage_driver>;

struct driver_row {
  std::string_view name;
  driver_ptr (*make)(pool_place place, config_map config);
  std::string (*version)(); // empty: this host cannot use it
};

template <class Driver>
driver_ptr make(pool_place place, config_map config) {
  return std::make_unique<Driver>(std::move(place), std::move(config));
}

constexpr driver_row rows[] = {
    {"dir", make<dir_driver>, [] { return std::string{"1"}; }},
    {"btrfs", make<btrfs_driver>, btrfs_version},
};

} // namespace

outcome<void> storage_driver::limit_volume(const volume_id&, uint64_t) {
  return fail(fault::unsupported,
              "The storage driver " + std::string{traits().name} + " cannot limit the size of a volume");
}

bool has_quotas(std::string_view driver) {
  auto any = make_storage_driver(driver, {}, {});
  return any && any->traits().quotas;
}

driver_ptr make_storage_driver(std::string_view driver, pool_place place, config_map config) {
  for (auto& row : rows)
    if (row.name == driver) return row.make(std::move(place), std::move(config));
  return nullptr;
}

std::vector<std::pair<std::string, std::string>> supported_storage_drivers() {
  std::vector<std::pair<std::string, std::string>> supported;
  for (auto& row : rows)
    if (auto version = row.version(); !version.empty()) supported.emplace_back(row.name, std::move(version));
  return supported;
}

} // namespace troupe
