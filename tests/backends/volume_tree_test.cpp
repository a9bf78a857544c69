#include "backends/storage/volume_tree.hpp"
#include "tests/backends/storage_pool_fixture.hpp"

#include <sys/sysmacros.h>

using namespace troupe;

namespace {

const volume_id image{"images", "1234abcd"}, c1{"containers", "c1"}, kept{"snapshots", "5f0c"};

// What a container on an overlay changed, removed, emptied and linked.
void use(const root_mount& root) {
  auto options = "lowerdir=" + root.lower + ",upperdir=" + root.upper + ",workdir=" + root.work;
  REQUIRE(mount("overlay", root.path.c_str(), "overlay", 0, options.c_str()) == 0);
  auto rootfs = root.path + "/rootfs";
  write_text(rootfs + "/hello", "changed");
  write_text(rootfs + "/one", "linked");
  REQUIRE(link((rootfs + "/one").c_str(), (rootfs + "/two").c_str()) == 0);
  REQUIRE(unlink((rootfs + "/gone").c_str()) == 0);
  std::filesystem::remove_all(rootfs + "/emptied");
  REQUIRE(mkdir((rootfs + "/emptied").c_str(), 0750) == 0);
  REQUIRE(lchown((rootfs + "/hello").c_str(), 1000, 1001) == 0);
  REQUIRE(umount(root.path.c_str()) == 0);
}

void add_image(pool_fixture& pool) {
  must(pool.driver->create_volume(image));
  auto rootfs = pool.driver->path(image) + "/rootfs";
  write_text(rootfs + "/hello", "from the image");
  write_text(rootfs + "/gone", "");
  REQUIRE(mkdir((rootfs + "/emptied").c_str(), 0755) == 0);
  write_text(rootfs + "/emptied/old", "");
  must(pool.driver->seal_volume(image));
}

void check_tree(const std::string& rootfs) {
  CHECK(read_text(rootfs + "/hello") == "changed");
  CHECK_FALSE(is_there(rootfs + "/gone"));
  CHECK(is_there(rootfs + "/emptied"));
  CHECK_FALSE(is_there(rootfs + "/emptied/old"));
  struct stat one, two, hello;
  REQUIRE(lstat((rootfs + "/one").c_str(), &one) == 0);
  REQUIRE(lstat((rootfs + "/two").c_str(), &two) == 0);
  REQUIRE(lstat((rootfs + "/hello").c_str(), &hello) == 0);
  CHECK(one.st_ino == two.st_ino);
  CHECK(hello.st_uid == 1000);
  CHECK(hello.st_gid == 1001);
}

} // namespace

TEST_CASE("an overlay is copied to another pool as its container sees it", "[storage]") {
  pool_fixture from{"dir"}, to{GENERATE(as<std::string>{}, "dir", "btrfs")};
  must(from.driver->create());
  must(to.driver->create());
  add_image(from);
  must(from.driver->clone_volume(image, c1));
  use(must(from.driver->root(c1)));
  must(from.driver->clone_volume(c1, kept));
  for (auto& id : {c1, kept}) {
    must(copy_between(*from.driver, id, *to.driver, id));
    check_tree(to.driver->path(id) + "/rootfs");
  }
  CHECK(from.scratch.mounts().empty());
}

TEST_CASE("a plain volume is copied to another pool", "[storage]") {
  pool_fixture from{"btrfs"}, to{GENERATE(as<std::string>{}, "dir", "btrfs")};
  must(from.driver->create());
  must(to.driver->create());
  must(from.driver->create_volume(c1));
  write_text(from.driver->path(c1) + "/rootfs/file", "text");
  must(copy_between(*from.driver, c1, *to.driver, kept));
  CHECK(read_text(to.driver->path(kept) + "/rootfs/file") == "text");
  CHECK(fault_of(copy_between(*from.driver, image, *to.driver, c1)) == fault::not_found);
  CHECK_FALSE(is_there(to.directory() + "/containers/c1"));
}
