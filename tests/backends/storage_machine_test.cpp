#include "backends/image/archives.hpp"
#include "backends/storage/btrfs_send.hpp"
#include "backends/storage/root_disk.hpp"
#include "backends/storage/volume_tree.hpp"
#include "tests/backends/storage_pool_fixture.hpp"

#include <sys/statfs.h>

using namespace troupe;

// Every driver must pass all of these.
#define FOR_EACH_DRIVER() GENERATE(as<std::string>{}, "dir", "btrfs")

namespace {

constexpr uint64_t mib = 1 << 20;
const volume_id image{"images", "1234abcd"}, v1{"virtual-machines", "v1"}, v2{"virtual-machines", "v2"};
const volume_id kept{"snapshots", "5f0c"}, c1{"containers", "c1"};

std::string disk_of(storage_driver& driver, const volume_id& id) { return driver.path(id) + "/root.img"; }

struct stat look(const std::string& path) {
  struct stat found;
  INFO(path);
  REQUIRE(lstat(path.c_str(), &found) == 0);
  return found;
}

uint64_t allocated(const std::string& path) { return static_cast<uint64_t>(look(path).st_blocks) * 512; }

void write_at(const std::string& path, uint64_t offset, std::string_view text) {
  unique_fd file{open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  REQUIRE(pwrite(file.get(), text.data(), text.size(), static_cast<off_t>(offset)) ==
          static_cast<ssize_t>(text.size()));
  REQUIRE(fsync(file.get()) == 0);
}

std::string read_at(const std::string& path, uint64_t offset, size_t size) {
  unique_fd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string out(size, '?');
  REQUIRE(pread(file.get(), out.data(), size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size));
  return out;
}

bool is_in_place(const std::string& path) {
  unique_fd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  return is_cow_off(file.get());
}

/// 64 MiB, of which 2 MiB and a few bytes are there.
void add_machine_image(pool_fixture& pool) {
  must(pool.driver->fill_volume(image, [](const std::string& directory) -> outcome<void> {
    write_text(directory + "/metadata.yaml", "architecture: x86_64\n");
    unique_fd folder{open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    must(make_root_disk(folder.get()));
    must(grow_root_disk(directory, 64 * mib));
    write_at(directory + "/root.img", 0, "boot");
    write_at(directory + "/root.img", 32 * mib, std::string(2 * mib, 'x'));
    return {};
  }));
  must(pool.driver->seal_volume(image));
}

} // namespace

TEST_CASE("the volume of a new virtual machine has an empty disk that only grows", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  must(driver.create_volume(v1));
  CHECK(must(driver.root(v1)).path == pool.directory() + "/virtual-machines/v1");
  CHECK(must(driver.root(v1)).lower.empty());
  CHECK((look(driver.path(v1)).st_mode & 07777) == 0700);
  CHECK((look(pool.directory() + "/virtual-machines").st_mode & 07777) == 0700);
  CHECK((look(disk_of(driver, v1)).st_mode & 07777) == 0600);
  CHECK_FALSE(is_there(driver.path(v1) + "/rootfs"));
  CHECK(must(root_disk_size(driver.path(v1))) == 0);
  CHECK(is_in_place(disk_of(driver, v1)) == (pool.name == "btrfs"));

  must(driver.limit_volume(v1, 1000 * mib));
  CHECK(must(root_disk_size(driver.path(v1))) == 1000 * mib);
  CHECK(allocated(disk_of(driver, v1)) == 0);
  CHECK(must(driver.usage(v1)) < mib);
  must(driver.limit_volume(v1, 1000 * mib));
  must(driver.limit_volume(v1, 0)); // no wish
  write_at(disk_of(driver, v1), 999 * mib, "end");
  must(driver.create_volume(v1)); // exists: stays as it is
  auto refused = driver.limit_volume(v1, 1000 * mib - 512);
  CHECK(fault_of(refused) == fault::invalid);
  CHECK_THAT(refused.error().message, Catch::Matchers::Contains("cannot shrink"));
  CHECK(fault_of(driver.limit_volume(v1, uint64_t(-1))) == fault::invalid);
  CHECK(must(root_disk_size(driver.path(v1))) == 1000 * mib);
  must(driver.limit_volume(v1, 2000 * mib + 1)); // whole sectors
  must(driver.limit_volume(v1, 2000 * mib + 1));
  CHECK(must(root_disk_size(driver.path(v1))) == 2000 * mib + 512);
  CHECK(read_at(disk_of(driver, v1), 999 * mib, 3) == "end");
  CHECK(fault_of(driver.limit_volume(v2, mib)) == fault::not_found);

  must(driver.rename_volume(v1, v2));
  CHECK(must(driver.list()) == std::vector{v2});
  must(driver.destroy_volume(v2));
  must(driver.empty_trash());
  must(driver.destroy());
}

TEST_CASE("a virtual machine is cloned whole, sparse and apart, whatever it is cloned from", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  add_machine_image(pool);
  CHECK(is_in_place(disk_of(driver, image)) == (pool.name == "btrfs"));
  must(driver.clone_volume(image, v1));
  must(driver.clone_volume(image, v1));
  write_at(disk_of(driver, v1), 0, "mine");
  must(driver.limit_volume(v1, 128 * mib));
  must(driver.clone_volume(v1, kept));
  write_at(disk_of(driver, v1), 0, "late");
  must(driver.clone_volume(kept, v2));
  write_at(disk_of(driver, v2), 4, "also");
  const volume_id v3{"virtual-machines", "v3"};
  must(driver.clone_volume(v1, v3));

  CHECK(read_at(disk_of(driver, image), 0, 8) == std::string("boot\0\0\0\0", 8));
  CHECK(read_at(disk_of(driver, v1), 0, 8) == std::string("late\0\0\0\0", 8));
  CHECK(read_at(disk_of(driver, kept), 0, 8) == std::string("mine\0\0\0\0", 8));
  CHECK(read_at(disk_of(driver, v2), 0, 8) == "minealso");
  CHECK(read_at(disk_of(driver, v3), 0, 4) == "late");
  for (auto& id : {v1, v2, v3, kept}) {
    INFO(id.kind << '/' << id.name);
    CHECK(must(root_disk_size(driver.path(id))) == 128 * mib);
    CHECK(allocated(disk_of(driver, id)) < 3 * mib);
    CHECK(must(driver.usage(id)) < 4 * mib);
    CHECK(read_at(disk_of(driver, id), 32 * mib, 2 * mib) == std::string(2 * mib, 'x'));
    CHECK(read_at(disk_of(driver, id), 34 * mib, mib) == std::string(mib, '\0'));
    CHECK(is_in_place(disk_of(driver, id)) == (pool.name == "btrfs"));
    CHECK(read_text(driver.path(id) + "/metadata.yaml") == "architecture: x86_64\n");
    auto root = must(driver.root(id));
    CHECK((root.lower.empty() && root.upper.empty()));
  }
  // A snapshot may be limited as its machine is, and stays what it was.
  must(driver.limit_volume(kept, 256 * mib));
  CHECK(must(root_disk_size(driver.path(kept))) == 128 * mib);
  if (pool.name == "btrfs") CHECK(open(disk_of(driver, kept).c_str(), O_WRONLY | O_CLOEXEC) == -1);
  must(driver.destroy_volume(image)); // nothing lies over it
  for (auto& id : {v1, v2, v3, kept}) must(driver.destroy_volume(id));
  must(driver.empty_trash());
  must(driver.destroy());
}

TEST_CASE("no container is made of a virtual machine, nor the other way round", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  const volume_id other{"images", "ffff"};
  add_machine_image(pool);
  pool.add_image(other);
  CHECK(fault_of(driver.clone_volume(image, c1)) == fault::invalid);
  CHECK(fault_of(driver.clone_volume(other, v1)) == fault::invalid);
  must(driver.clone_volume(other, c1));
  CHECK(fault_of(driver.clone_volume(c1, v1)) == fault::invalid);
  must(driver.clone_volume(c1, kept));
  CHECK(fault_of(driver.clone_volume(kept, v1)) == fault::invalid);
  CHECK_FALSE(is_there(pool.directory() + "/virtual-machines/v1"));
}

TEST_CASE("a virtual machine is copied to another pool sparsely", "[storage]") {
  auto [one, two] = GENERATE(
      table<std::string, std::string>({{"dir", "btrfs"}, {"btrfs", "dir"}, {"dir", "dir"}, {"btrfs", "btrfs"}}));
  pool_fixture from{one}, to{two};
  must(from.driver->create());
  must(to.driver->create());
  add_machine_image(from);
  must(from.driver->clone_volume(image, v1));
  write_text(from.driver->path(v1) + "/nvram", "variables");
  must(from.driver->clone_volume(v1, kept));
  for (auto& id : {v1, kept}) {
    must(copy_between(*from.driver, id, *to.driver, id));
    CHECK(must(root_disk_size(to.driver->path(id))) == 64 * mib);
    CHECK(allocated(disk_of(*to.driver, id)) < 3 * mib);
    CHECK(read_at(disk_of(*to.driver, id), 32 * mib, 2 * mib) == std::string(2 * mib, 'x'));
    CHECK(is_in_place(disk_of(*to.driver, id)) == (two == "btrfs"));
    CHECK_FALSE(is_in_place(to.driver->path(id) + "/metadata.yaml"));
    CHECK(read_text(to.driver->path(id) + "/nvram") == "variables");
  }
}

TEST_CASE("a virtual machine is neither packed nor sent yet", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  must(pool.driver->create_volume(v1));
  must(pool.driver->clone_volume(v1, kept));
  auto root = must(pool.driver->root(v1));
  unique_fd into{open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
  for (auto& id : {v1, kept}) {
    std::vector<archive_part> parts;
    parts.push_back({"", {}, {}, must(pool.driver->root(id))});
    CHECK(fault_of(pack_archive(std::move(parts), {"none"}, into, nullptr, nullptr)) == fault::unsupported);
  }
  CHECK(fault_of(open_volume_mount(root)) == fault::unsupported);
  CHECK(fault_of(send_subvolume(root.path, "", into)) == fault::unsupported);
  CHECK_FALSE(sending_subvolume::begin(root.path, ""));
}

TEST_CASE("what a raw disk begins with is never looked at", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  must(driver.create_volume(v1));
  must(driver.limit_volume(v1, mib));
  auto header = std::string("QFI\xfb\0\0\0\3\0\0\0\0\0\0\x01\0\0\0\0\x0b", 20);
  write_at(disk_of(driver, v1), 0, header);
  write_at(disk_of(driver, v1), 256, "/etc/passwd");
  must(driver.clone_volume(v1, kept));
  must(driver.clone_volume(kept, v2));
  CHECK(read_at(disk_of(driver, v2), 0, mib) == read_at(disk_of(driver, v1), 0, mib));
}

TEST_CASE("a pool of an older version gets the place of virtual machines when it is opened", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  REQUIRE(rmdir((pool.directory() + "/virtual-machines").c_str()) == 0);
  must(pool.driver->close());
  must(pool.driver->open());
  CHECK(must(pool.driver->list()).empty());
  must(pool.driver->create_volume(v1));
}

TEST_CASE("a disk on a btrfs that shares its blocks is copied without them", "[storage]") {
  pool_fixture under{"btrfs"};
  must(under.driver->create());
  auto source = under.directory() + "/custom/pool";
  std::filesystem::create_directory(source);
  pool_fixture pool{"dir", {{"source", source}}};
  must(pool.driver->create());
  add_machine_image(pool);
  auto before = must(pool.driver->space()).used;
  must(pool.driver->clone_volume(image, v1));
  CHECK(is_in_place(disk_of(*pool.driver, v1)));
  sync();
  CHECK(must(pool.driver->space()).used - before < mib);
  must(pool.driver->close());
}
