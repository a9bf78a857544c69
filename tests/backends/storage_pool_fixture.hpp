#pragma once

#include "backends/storage/mounts.hpp"
#include "backends/storage/storage_driver.hpp"
#include "backends/storage/tree.hpp"
#include "messages/unique_fd.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {

/// A folder of this test's own; gone afterwards with everything in it and every mount below it.
class scratch_folder {
public:
  scratch_folder() {
    static int count = 0;
    path_ = "/tmp/tr-storage/" + std::to_string(getpid()) + '-' + std::to_string(++count);
    std::filesystem::create_directories(path_);
  }
  scratch_folder(const scratch_folder&) = delete;
  ~scratch_folder() {
    for (auto& mount : mounts()) umount2(mount.c_str(), MNT_DETACH);
    unique_fd parent{open("/tmp/tr-storage", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    CHECK(remove_tree(parent.get(), path_.substr(path_.rfind('/') + 1)));
    rmdir("/tmp/tr-storage"); // the last one
  }
  const std::string& path() const { return path_; }

  /// What is mounted below this folder, the latest first.
  std::vector<std::string> mounts() const {
    std::ifstream table{"/proc/self/mounts"};
    std::vector<std::string> found;
    for (std::string device, place, rest; table >> device >> place && std::getline(table, rest);)
      if (place.starts_with(path_ + '/')) found.insert(found.begin(), place);
    return found;
  }

private:
  std::string path_;
};

inline std::string said(const error& e) { return std::string{to_string(e.code)} + ": " + e.message; }

template <class T>
auto must(outcome<T> result) {
  INFO((result ? std::string{} : said(result.error())));
  REQUIRE(result.has_value());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

template <class T>
fault fault_of(const outcome<T>& result) {
  REQUIRE_FALSE(result.has_value());
  INFO(result.error().message);
  CHECK_FALSE(result.error().message.empty());
  return result.error().code;
}

inline void write_text(const std::string& path, std::string_view text) {
  std::ofstream{path, std::ios::binary} << text;
  REQUIRE(std::filesystem::exists(path));
}

inline std::string read_text(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

inline bool is_there(const std::string& path) {
  struct stat found;
  return lstat(path.c_str(), &found) == 0;
}

inline size_t count_in(const std::string& directory) {
  auto entries = std::filesystem::directory_iterator{directory};
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

/// One pool of either driver in its own folder.
struct pool_fixture {
  explicit pool_fixture(std::string_view driver_name, config_map config = {}) : name{driver_name} {
    for (auto folder : {"/pools", "/disks"}) std::filesystem::create_directory(scratch.path() + folder);
    if (name == "btrfs" && !config.contains("source")) config.try_emplace("size", "256MiB");
    driver = reopened(config);
    settings = must(driver->complete(config));
  }

  pool_place place() const { return {"p1", scratch.path() + "/pools/p1", scratch.path() + "/disks"}; }
  /// What a restarted daemon has: a new object on the same pool.
  std::unique_ptr<storage_driver> reopened(const config_map& config) const {
    return make_storage_driver(name, place(), config);
  }
  std::string directory() const { return place().directory; }

  void add_image(const volume_id& id) {
    must(driver->create_volume(id));
    write_text(driver->path(id) + "/rootfs/hello", "from the image");
    write_text(driver->path(id) + "/metadata.yaml", "architecture: x86_64\n");
    must(driver->seal_volume(id));
  }

  scratch_folder scratch;
  std::string name;
  std::unique_ptr<storage_driver> driver;
  config_map settings;
};

} // namespace troupe
