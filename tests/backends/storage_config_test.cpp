#include "backends/storage/pool_config.hpp"
#include "backends/storage/size.hpp"
#include "backends/storage/storage_driver.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

TEST_CASE("sizes are read as LXD writes them", "[storage]") {
  auto [text, bytes] = GENERATE(table<std::string, uint64_t>({
      {"0", 0},
      {"4096", 4096},
      {"4096B", 4096},
      {"7 bytes", 7},
      {"5kB", 5000},
      {"5MB", 5'000'000},
      {"1KiB", 1024},
      {"10GiB", 10ull << 30},
      {"2TiB", 2ull << 40},
      {"9223372036854775807", INT64_MAX},
      {"7EiB", 7ull << 60},
  }));
  CHECK(parse_size(text) == bytes);
}

TEST_CASE("what is no size is refused", "[storage]") {
  auto text = GENERATE(as<std::string>{}, "", "GiB", "-1", "+1", " 1", "1 GiB", "1G", "1gib", "1.5GiB", "0x10", "1GiB ",
                       "8EiB", "9223372036854775808", "18446744073709551616", "99999999999999999999999999");
  auto size = parse_size(text);
  REQUIRE_FALSE(size);
  CHECK(size.error().code == fault::invalid);
}

TEST_CASE("a storage pool's config is checked key by key", "[storage]") {
  auto [driver, key, value, wanted] = GENERATE(table<std::string, std::string, std::string, int>({
      {"dir", "source", "/srv/pool", 0},
      {"dir", "user.note", "two\nlines", 0},
      {"dir", "volatile.initial_source", "/srv/pool", 0},
      {"btrfs", "size", "10GiB", 0},
      {"btrfs", "btrfs.mount_options", "noatime,compress=zstd:3", 0},
      {"btrfs", "volatile.fs_uuid", "01234567-89ab-cdef-0123-456789abcdef", 0},
      {"dir", "size", "10GiB", static_cast<int>(fault::invalid)},
      {"dir", "source", "relative/path", static_cast<int>(fault::invalid)},
      {"dir", "source", "/srv/../etc", static_cast<int>(fault::invalid)},
      {"dir", "source", "/srv/..", static_cast<int>(fault::invalid)},
      {"dir", "source", "/srv\n", static_cast<int>(fault::invalid)},
      {"dir", "soruce", "/srv", static_cast<int>(fault::invalid)},
      {"dir", "user.", "", static_cast<int>(fault::invalid)},
      {"dir", "", "", static_cast<int>(fault::invalid)},
      {"dir", "rsync.bwlimit", "1", static_cast<int>(fault::unsupported)},
      {"btrfs", "rsync.compression", "true", static_cast<int>(fault::unsupported)},
      {"btrfs", "volume.size", "1GiB", static_cast<int>(fault::unsupported)},
      {"btrfs", "size", "lots", static_cast<int>(fault::invalid)},
      {"btrfs", "size", "1MiB", static_cast<int>(fault::invalid)},
      {"btrfs", "btrfs.mount_options", "noatime,subvol=x", static_cast<int>(fault::invalid)},
      {"btrfs", "btrfs.mount_options", "ro", static_cast<int>(fault::invalid)},
      {"btrfs", "btrfs.mount_options", ",", static_cast<int>(fault::invalid)},
      {"btrfs", "volatile.fs_uuid", "x", static_cast<int>(fault::invalid)},
  }));
  INFO(driver << ' ' << key << '=' << value);
  auto checked = check_pool_config(driver, {{key, value}});
  REQUIRE(checked.has_value() == (wanted == 0));
  if (checked) return;
  CHECK(static_cast<int>(checked.error().code) == wanted);
  CHECK(checked.error().message.find(key) != std::string::npos);
}

TEST_CASE("an unknown storage driver is none", "[storage]") {
  CHECK(make_storage_driver("zfs", {"p", "/nowhere/p", "/nowhere"}, {}) == nullptr);
  auto supported = supported_storage_drivers();
  REQUIRE(supported.size() == 2);
  CHECK(supported[0].first == "dir");
  CHECK(supported[1].first == "btrfs");
  CHECK(supported[1].second.find('.') != std::string::npos);
}
