#include "backends/storage/btrfs_format.hpp"
#include "backends/storage/btrfs_subvolumes.hpp"
#include "backends/storage/run_program.hpp"
#include "tests/backends/storage_pool_fixture.hpp"

#include <chrono>
#include <thread>

using namespace troupe;

namespace {

const volume_id image{"images", "1234abcd"}, c1{"containers", "c1"}, c2{"containers", "c2"};

unique_fd open_dir(const std::string& path) {
  return unique_fd{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
}

// 0, or why not all of it came to the disk.
int try_write(const std::string& path, size_t bytes) {
  unique_fd file{open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  std::vector<char> block(1 << 20);
  for (size_t done = 0; done < bytes; done += block.size()) {
    for (size_t i = 0; i < block.size(); i += 64) block[i] = static_cast<char>(done + i);
    auto written = write(file.get(), block.data(), block.size());
    if (written < 0 || fsync(file.get()) != 0) return errno;
    if (written != static_cast<ssize_t>(block.size())) return EDQUOT;
  }
  return 0;
}

} // namespace

TEST_CASE("a sealed image of a btrfs pool cannot be written, its clones can", "[storage]") {
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  pool.add_image(image);
  CHECK(open((pool.driver->path(image) + "/rootfs/new").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600) == -1);
  CHECK(errno == EROFS);
  must(pool.driver->clone_volume(image, c1));
  CHECK(is_subvolume(open_dir(pool.driver->path(c1)).get()));
  write_text(pool.driver->path(c1) + "/rootfs/new", "new");
  must(pool.driver->destroy_volume(image)); // a snapshot does not need its source
  must(pool.driver->empty_trash());
  CHECK(read_text(pool.driver->path(c1) + "/rootfs/hello") == "from the image");
}

TEST_CASE("a guest's own subvolumes are cloned and deleted with the container", "[storage]") {
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  must(driver.create_volume(c1));
  auto inner = driver.path(c1) + "/rootfs/inner";
  must(make_subvolume(inner));
  std::filesystem::create_directory(inner + "/sub");
  must(make_subvolume(inner + "/sub/inmost"));
  write_text(inner + "/sub/inmost/file", "inmost");
  REQUIRE(set_read_only(open_dir(inner).get(), true));
  must(driver.clone_volume(c1, c2));
  CHECK(read_text(driver.path(c2) + "/rootfs/inner/sub/inmost/file") == "inmost");
  CHECK(is_subvolume(open_dir(driver.path(c2) + "/rootfs/inner/sub/inmost").get()));
  must(driver.destroy_volume(c1));
  must(driver.destroy_volume(c2));
  must(driver.empty_trash());
  CHECK(count_in(pool.directory() + "/.trash") == 0);
  CHECK_FALSE(has_nested_subvolumes(open_dir(pool.directory()).get()));
  must(driver.destroy());
}

TEST_CASE("a limited volume takes no more, and tells what it holds without a walk", "[storage]") {
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  must(driver.create_volume(c1));
  CHECK_FALSE(driver.quick_usage(c1)); // nobody asked for quotas yet
  must(driver.limit_volume(c1, 0));
  must(driver.limit_volume(c1, 4 << 20));
  must(driver.create_volume(c2));
  auto fill = [&](const volume_id& id) { return try_write(driver.path(id) + "/rootfs/file", 16 << 20); };
  CHECK(fill(c1) == EDQUOT);
  CHECK(fill(c2) == 0);
  auto used = driver.quick_usage(c1);
  REQUIRE(used);
  CHECK(*used <= 4 << 20);
  must(driver.limit_volume(c1, 0));
  CHECK(fill(c1) == 0);
  syncfs(open_dir(driver.path(c1)).get()); // the kernel counts with its commits
  CHECK(must(driver.usage(c1)) >= 16 << 20);
  CHECK(fault_of(driver.limit_volume({"containers", "none"}, 1)) == fault::not_found);
}

TEST_CASE("subvolumes nested deeper than any path are deleted", "[storage]") {
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  must(pool.driver->create_volume(c1));
  auto here = open_dir(pool.driver->path(c1) + "/rootfs");
  std::string name(200, 'n');
  for (int i = 0; i < 25; ++i) {
    auto path = "/proc/self/fd/" + std::to_string(here.get()) + '/' + name;
    if (i % 5 == 4)
      must(make_subvolume(path));
    else
      REQUIRE(mkdirat(here.get(), name.c_str(), 0700) == 0);
    unique_fd below{openat(here.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    REQUIRE(below);
    here = std::move(below);
    if (i % 10 == 9) REQUIRE(mkdirat(here.get(), "sibling", 0700) == 0);
  }
  REQUIRE(set_read_only(here.get(), true));
  here.reset();
  must(pool.driver->destroy_volume(c1));
  must(pool.driver->empty_trash());
  CHECK(count_in(pool.directory() + "/.trash") == 0);
}

TEST_CASE("a loop file with a file system of somebody else is left alone", "[storage]") {
  pool_fixture pool{"btrfs"};
  auto file = pool.scratch.path() + "/disks/p1.img";
  write_text(file, "");
  std::filesystem::resize_file(file, 128 << 20);
  must(make_btrfs(file, "01234567-89ab-cdef-0123-456789abcdef", "other", false));
  CHECK(fault_of(pool.driver->create()) == fault::in_use);
  must(pool.driver->destroy());
  CHECK(btrfs_uuid_on(file) == "01234567-89ab-cdef-0123-456789abcdef");
}

TEST_CASE("a block device is formatted once, and wiped when the pool goes", "[storage]") {
  scratch_folder elsewhere;
  auto file = elsewhere.path() + "/device.img";
  write_text(file, "");
  std::filesystem::resize_file(file, 256 << 20);
  auto device = must(attach_loop(file));
  config_map config{{"source", device.path}, {"btrfs.mount_options", "noatime,user_subvol_rm_allowed"}};
  {
    pool_fixture pool{"btrfs", config};
    CHECK_FALSE(pool.settings.contains("size"));
    must(pool.driver->create());
    must(pool.driver->create());
    must(pool.driver->create_volume(c1));
    must(pool.driver->close());
    must(pool.reopened(pool.settings)->open());
    CHECK(must(pool.driver->list()) == std::vector{c1});

    pool_fixture second{"btrfs", config};
    CHECK_FALSE(second.driver->create()); // it is ours, but not hers
    must(second.driver->destroy());
    CHECK(btrfs_uuid_on(device.path) == pool.settings.at("volatile.fs_uuid"));

    must(pool.driver->destroy_volume(c1));
    must(pool.driver->destroy());
    CHECK(btrfs_uuid_on(device.path).empty());
  }
  pool_fixture third{"btrfs", config};
  must(third.driver->create());
  must(third.driver->destroy());
}

TEST_CASE("a directory on a btrfs is used and given back empty", "[storage]") {
  pool_fixture host{"btrfs"};
  must(host.driver->create());
  auto source = host.directory() + "/custom/somebody";
  must(make_subvolume(source));
  CHECK(fault_of(host.driver->complete({{"source", source}, {"size", "1GiB"}})) == fault::invalid);
  CHECK(fault_of(host.driver->complete({{"source", source}, {"btrfs.mount_options", "noatime"}})) == fault::invalid);
  CHECK(fault_of(host.driver->complete({{"source", host.scratch.path() + "/disks"}})) == fault::invalid);
  pool_fixture pool{"btrfs", {{"source", source}}};
  must(pool.driver->create());
  pool.add_image(image);
  must(pool.driver->clone_volume(image, c1));
  CHECK(is_there(source + "/containers/c1/rootfs/hello"));
  must(pool.driver->close());
  must(pool.driver->open());
  CHECK(must(pool.driver->list()).size() == 2);
  must(pool.driver->destroy_volume(c1));
  must(pool.driver->destroy_volume(image));
  must(pool.driver->destroy());
  CHECK(count_in(source) == 0);
  CHECK_FALSE(is_there(pool.directory()));
}

TEST_CASE("a pool still mounted elsewhere is mounted again from the same loop device", "[storage]") {
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  must(pool.driver->create_volume(c1));
  auto kept = pool.scratch.path() + "/kept";
  std::filesystem::create_directory(kept);
  must(bind_mount(pool.driver->path(c1), kept));
  must(pool.driver->close());
  must(pool.driver->open());
  CHECK(must(pool.driver->list()) == std::vector{c1});
  must(unmount(kept));
}

TEST_CASE("a pool in use is not taken down", "[storage]") {
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  auto holder = open_dir(pool.directory());
  CHECK(fault_of(pool.driver->close()) == fault::in_use);
  holder.reset();
  must(pool.driver->close());
}

TEST_CASE("deleting a pool waits for a file that a dying process still holds", "[storage]") {
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  auto holder = open_dir(pool.directory());
  CHECK(fault_of(pool.driver->close()) == fault::in_use);
  std::jthread last_user{[&holder] {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    holder.reset();
  }};
  must(pool.driver->destroy());
  CHECK_FALSE(is_there(pool.directory()));
}

TEST_CASE("a program's last complaint is in the error", "[storage]") {
  auto failed = run_program({"mkfs.btrfs", "--", "/nowhere/at/all"});
  CHECK(fault_of(failed) == fault::backend_failed);
  CHECK(failed.error().message.find("/nowhere/at/all") != std::string::npos);
  CHECK(fault_of(run_program({"no-such-program"})) == fault::unsupported);
}

TEST_CASE("what an earlier process left goes, also where it cannot be written any more", "[storage]") {
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  auto left = pool.directory() + "/.incomplete/left";
  must(make_subvolume(left));
  unique_fd volume{open(left.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  REQUIRE(set_read_only(volume.get(), true));
  volume.reset();
  must(pool.driver->empty_trash());
  CHECK(access(left.c_str(), F_OK) == -1);
}
