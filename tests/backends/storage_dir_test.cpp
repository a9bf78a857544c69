#include "backends/storage/overlay_probe.hpp"
#include "tests/backends/storage_pool_fixture.hpp"

#include <atomic>
#include <thread>

#include <sys/sysmacros.h>
#include <sys/xattr.h>

using namespace troupe;

namespace {

const volume_id image{"images", "1234abcd"}, c1{"containers", "c1"}, c2{"containers", "c2"};

// An overlay as whoever starts the container would mount it, but for the shift of the ids.
void mount_root(const root_mount& root) {
  auto options = "lowerdir=" + root.lower + ",upperdir=" + root.upper + ",workdir=" + root.work;
  REQUIRE(mount("overlay", root.path.c_str(), "overlay", 0, options.c_str()) == 0);
}

struct timespec changed(const std::string& path) {
  struct stat found;
  REQUIRE(lstat(path.c_str(), &found) == 0);
  return found.st_mtim;
}

} // namespace

TEST_CASE("pools that are opened at the same time do not wait for each other", "[storage]") {
  scratch_folder folder;
  std::vector<std::thread> all;
  std::atomic<int> works = 0;
  for (int i = 0; i < 32; ++i)
    all.emplace_back(
        [&, scratch = folder.path() + "/probe" + std::to_string(i)] { works += can_overlay_idmapped(scratch); });
  for (auto& each : all) each.join();
  CHECK(works == 32);
}

TEST_CASE("a container of a dir pool is an overlay that keeps its image", "[storage]") {
  pool_fixture pool{"dir"};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  REQUIRE(driver.traits().overlays); // the kernels that are supported can
  pool.add_image(image);
  must(driver.clone_volume(image, c1));
  auto root = must(driver.root(c1));
  CHECK(root.lower == driver.path(image));
  CHECK(root.upper == driver.path(c1));
  CHECK(root.upper.substr(0, root.upper.rfind('/')) == root.work.substr(0, root.work.rfind('/')));
  mount_root(root);
  CHECK(read_text(root.path + "/rootfs/hello") == "from the image");
  write_text(root.path + "/rootfs/hello", "changed");
  write_text(root.path + "/rootfs/more", "more");
  REQUIRE(unlink((root.path + "/metadata.yaml").c_str()) == 0);
  REQUIRE(umount(root.path.c_str()) == 0);
  CHECK(read_text(driver.path(image) + "/rootfs/hello") == "from the image");
  CHECK(fault_of(driver.destroy_volume(image)) == fault::in_use);
  CHECK(driver.is_sealed(image));

  SECTION("its clone has the same image and what was written") {
    must(driver.clone_volume(c1, c2));
    auto clone = must(driver.root(c2));
    CHECK(clone.lower == root.lower);
    mount_root(clone);
    CHECK(read_text(clone.path + "/rootfs/hello") == "changed");
    CHECK(read_text(clone.path + "/rootfs/more") == "more");
    CHECK_FALSE(is_there(clone.path + "/metadata.yaml")); // the whiteout came along
    REQUIRE(umount(clone.path.c_str()) == 0);
    CHECK(fault_of(driver.clone_volume(c1, {"images", "other"})) == fault::unsupported);
    must(driver.destroy_volume(c1));
    CHECK(fault_of(driver.destroy_volume(image)) == fault::in_use);
    must(driver.destroy_volume(c2));
  }
  SECTION("renamed it is still one") {
    must(driver.rename_volume(c1, c2));
    CHECK(must(driver.root(c2)).lower == root.lower);
    CHECK(fault_of(driver.destroy_volume(image)) == fault::in_use);
    must(driver.destroy_volume(c2));
  }
  must(driver.destroy_volume(c1));
  must(driver.destroy_volume(image));
  must(driver.destroy());
}

TEST_CASE("a link that came with an image does not make an overlay", "[storage]") {
  pool_fixture pool{"dir"};
  must(pool.driver->create());
  pool.add_image(image);
  must(pool.driver->create_volume(c1));
  auto directory = pool.directory() + "/containers/c1";
  REQUIRE(symlink("1234abcd", (directory + "/lower").c_str()) == 0);
  CHECK(must(pool.driver->root(c1)).lower.empty());
  REQUIRE(rmdir((directory + "/rootfs").c_str()) == 0);
  CHECK_FALSE(must(pool.driver->root(c1)).lower.empty());
  REQUIRE(unlink((directory + "/lower").c_str()) == 0);
  REQUIRE(symlink("../..", (directory + "/lower").c_str()) == 0);
  CHECK(must(pool.driver->root(c1)).lower.empty());
}

TEST_CASE("a dir pool with a source uses that directory and gives it back empty", "[storage]") {
  scratch_folder elsewhere;
  auto source = elsewhere.path() + "/source";
  std::filesystem::create_directory(source);
  pool_fixture pool{"dir", {{"source", source}}};
  CHECK(pool.settings.at("volatile.initial_source") == source);
  must(pool.driver->create());
  must(pool.driver->create_volume(c1));
  CHECK(is_there(source + "/containers/c1/rootfs"));
  must(pool.driver->close());
  CHECK_FALSE(is_there(pool.driver->path(c1)));
  must(pool.driver->open());
  must(pool.driver->open());
  CHECK(pool.scratch.mounts().size() == 1);
  CHECK(is_there(pool.driver->path(c1)));
  must(pool.driver->destroy_volume(c1));
  must(pool.driver->close());
  must(pool.driver->destroy());
  CHECK(count_in(source) == 0);
  CHECK(pool.scratch.mounts().empty());
  CHECK_FALSE(is_there(pool.directory()));
}

TEST_CASE("a source that holds something is refused and stays as it is", "[storage]") {
  scratch_folder elsewhere;
  auto driver_name = GENERATE(as<std::string>{}, "dir", "btrfs");
  pool_fixture pool{driver_name};
  config_map config{{"source", elsewhere.path()}};
  std::filesystem::create_directories(elsewhere.path() + "/.trash/mine");
  std::filesystem::create_directories(elsewhere.path() + "/.incomplete/mine");
  write_text(elsewhere.path() + "/precious", "precious");
  CHECK(fault_of(pool.driver->complete(config)) == fault::invalid);
  CHECK(fault_of(pool.driver->complete({{"source", "/nowhere/at/all"}})) == fault::invalid);
  auto forced = pool.reopened(config);
  CHECK_FALSE(forced->create());
  must(forced->destroy());
  CHECK(read_text(elsewhere.path() + "/precious") == "precious");
  CHECK(is_there(elsewhere.path() + "/.trash/mine"));
  CHECK(pool.scratch.mounts().empty());
}

TEST_CASE("what somebody else mounted on a pool's place stays", "[storage]") {
  scratch_folder elsewhere;
  pool_fixture pool{"btrfs"};
  must(pool.driver->create());
  must(pool.driver->close());
  REQUIRE(mount("tmpfs", pool.directory().c_str(), "tmpfs", 0, "size=1m") == 0);
  CHECK(fault_of(pool.driver->open()) == fault::wrong_state);
  CHECK(fault_of(pool.driver->destroy()) == fault::wrong_state);
  must(pool.driver->close());
  CHECK(pool.scratch.mounts().size() == 1);
  REQUIRE(umount(pool.directory().c_str()) == 0);
  must(pool.driver->destroy());
}

TEST_CASE("a copy is the same to the last attribute", "[storage]") {
  scratch_folder scratch;
  auto from = scratch.path() + "/from", to = scratch.path() + "/to";
  std::filesystem::create_directories(from + "/inner/deep");
  write_text(from + "/file", "text");
  REQUIRE(chown((from + "/file").c_str(), 1000, 1001) == 0);
  REQUIRE(chmod((from + "/file").c_str(), 04751) == 0);
  REQUIRE(setxattr((from + "/file").c_str(), "user.note", "n", 1, 0) == 0);
  REQUIRE(setxattr((from + "/inner").c_str(), "trusted.overlay.opaque", "y", 1, 0) == 0);
  REQUIRE(link((from + "/file").c_str(), (from + "/inner/deep/same").c_str()) == 0);
  REQUIRE(symlink("/etc/passwd", (from + "/link").c_str()) == 0);
  REQUIRE(lchown((from + "/link").c_str(), 7, 8) == 0);
  REQUIRE(mknod((from + "/whiteout").c_str(), S_IFCHR, makedev(0, 0)) == 0);
  REQUIRE(mknod((from + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0);
  REQUIRE(mkfifo((from + "/fifo").c_str(), 0640) == 0);
  {
    unique_fd sparse{open((from + "/sparse").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)};
    REQUIRE(pwrite(sparse.get(), "end", 3, 64 << 20) == 3);
  }
  timespec old[] = {{1'000'000, 1}, {2'000'000, 2}};
  REQUIRE(utimensat(AT_FDCWD, (from + "/inner").c_str(), old, 0) == 0);
  REQUIRE(utimensat(AT_FDCWD, (from + "/link").c_str(), old, AT_SYMLINK_NOFOLLOW) == 0);

  must(copy_tree(from, to));
  struct stat found, same;
  REQUIRE(lstat((to + "/file").c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == 04751);
  CHECK((found.st_uid == 1000 && found.st_gid == 1001));
  REQUIRE(lstat((to + "/inner/deep/same").c_str(), &same) == 0);
  CHECK(found.st_ino == same.st_ino);
  CHECK(read_text(to + "/file") == "text");
  char value[8];
  CHECK(getxattr((to + "/file").c_str(), "user.note", value, sizeof value) == 1);
  CHECK(getxattr((to + "/inner").c_str(), "trusted.overlay.opaque", value, sizeof value) == 1);
  CHECK(std::filesystem::read_symlink(to + "/link") == "/etc/passwd");
  REQUIRE(lstat((to + "/link").c_str(), &found) == 0);
  CHECK((found.st_uid == 7 && found.st_gid == 8));
  CHECK(changed(to + "/link").tv_sec == 2'000'000);
  CHECK(changed(to + "/inner").tv_sec == 2'000'000);
  REQUIRE(lstat((to + "/whiteout").c_str(), &found) == 0);
  CHECK((S_ISCHR(found.st_mode) && found.st_rdev == makedev(0, 0)));
  REQUIRE(lstat((to + "/null").c_str(), &found) == 0);
  CHECK(found.st_rdev == makedev(1, 3));
  REQUIRE(lstat((to + "/fifo").c_str(), &found) == 0);
  CHECK((S_ISFIFO(found.st_mode) && (found.st_mode & 07777) == 0640));
  REQUIRE(lstat((to + "/sparse").c_str(), &found) == 0);
  CHECK(found.st_size == (64 << 20) + 3);
  CHECK(found.st_blocks * 512 < 1 << 20);
  CHECK_FALSE(copy_tree(from, to)); // never onto something
}
