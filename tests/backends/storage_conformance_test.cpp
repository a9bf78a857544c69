#include "tests/backends/storage_pool_fixture.hpp"

#include <atomic>
#include <fstream>
#include <signal.h>
#include <sys/wait.h>
#include <thread>

using namespace troupe;

// Every driver must pass all of these.
#define FOR_EACH_DRIVER() GENERATE(as<std::string>{}, "dir", "btrfs")

namespace {

const volume_id image{"images", "1234abcd"}, c1{"containers", "c1"}, c2{"containers", "c2"}, data{"custom", "data"};

size_t loops_of(const std::string& folder) {
  size_t count = 0;
  for (auto& entry : std::filesystem::directory_iterator{"/sys/block"})
    if (read_text(entry.path().string() + "/loop/backing_file").starts_with(folder)) ++count;
  return count;
}

} // namespace

TEST_CASE("a pool is made, found again, taken down and removed without a trace", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  CHECK_FALSE(is_there(pool.directory()));
  CHECK(count_in(pool.scratch.path() + "/disks") == 0); // completing a config changes nothing
  must(pool.driver->create());
  must(pool.driver->create());
  CHECK(must(pool.driver->list()).empty());
  must(pool.driver->create_volume(data));
  write_text(pool.driver->path(data) + "/kept", "kept");

  auto again = pool.reopened(pool.settings);
  must(again->open());
  must(again->open());
  CHECK(pool.scratch.mounts().size() == (pool.name == "btrfs" ? 1 : 0));
  CHECK(must(again->list()) == std::vector{data});
  must(again->close());
  must(again->close());
  CHECK(pool.scratch.mounts().empty());
  must(again->open());
  CHECK(read_text(again->path(data) + "/kept") == "kept");

  CHECK(fault_of(again->destroy()) == fault::in_use);
  CHECK(read_text(again->path(data) + "/kept") == "kept");
  must(again->destroy_volume(data));
  must(again->destroy());
  must(again->destroy());
  CHECK(pool.scratch.mounts().empty());
  CHECK_FALSE(is_there(pool.directory()));
  CHECK(count_in(pool.scratch.path() + "/disks") == 0);
  CHECK(loops_of(pool.scratch.path()) == 0);
}

TEST_CASE("destroying a pool that was never made is done at once", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->destroy());
  CHECK_FALSE(is_there(pool.directory()));
}

TEST_CASE("volumes are made once, listed, renamed and destroyed", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  must(driver.create_volume(c1));
  CHECK(is_there(driver.path(c1) + "/rootfs"));
  write_text(driver.path(c1) + "/rootfs/file", "mine");
  must(driver.create_volume(c1));
  CHECK(read_text(driver.path(c1) + "/rootfs/file") == "mine");
  must(driver.create_volume(data));
  CHECK(count_in(driver.path(data)) == 0);
  CHECK(must(driver.root(c1)).path == driver.path(c1));
  CHECK(must(driver.root(c1)).lower.empty());

  must(driver.rename_volume(c1, c2));
  must(driver.rename_volume(c1, c2)); // done already
  CHECK(read_text(driver.path(c2) + "/rootfs/file") == "mine");
  must(driver.create_volume(c1));
  CHECK(fault_of(driver.rename_volume(c1, c2)) == fault::already_exists);
  CHECK(fault_of(driver.rename_volume({"containers", "none"}, {"containers", "other"})) == fault::not_found);
  CHECK(fault_of(driver.rename_volume(c1, {"custom", "c1"})) == fault::invalid);

  for (auto& id : {c1, c2, data}) {
    must(driver.destroy_volume(id));
    must(driver.destroy_volume(id));
  }
  CHECK(must(driver.list()).empty());
  CHECK(fault_of(driver.root(c1)) == fault::not_found);
  CHECK(count_in(pool.directory() + "/.trash") == 3);
  must(driver.empty_trash());
  must(driver.empty_trash());
  CHECK(count_in(pool.directory() + "/.trash") == 0);
  must(driver.destroy());
}

TEST_CASE("only root gets below a volume", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  auto before = umask(0);
  must(pool.driver->create());
  must(pool.driver->create_volume(c1));
  pool.add_image(image);
  must(pool.driver->clone_volume(image, c2));
  umask(before);
  for (auto& id : {image, c1, c2}) {
    struct stat found;
    REQUIRE(stat((pool.directory() + '/' + id.kind + '/' + id.name).c_str(), &found) == 0);
    CHECK((found.st_mode & 07777) == 0700);
  }
  struct stat found;
  REQUIRE(stat((pool.driver->path(c1) + "/rootfs").c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == 0755);
  REQUIRE(stat(pool.directory().c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == 0711);
  REQUIRE(stat((pool.directory() + "/.trash").c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == 0700);
}

TEST_CASE("an image is cloned once it is sealed", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  CHECK(fault_of(driver.clone_volume(image, c1)) == fault::not_found);
  CHECK(fault_of(driver.seal_volume(image)) == fault::not_found);
  must(driver.create_volume(image));
  CHECK_FALSE(driver.is_sealed(image));
  CHECK(fault_of(driver.clone_volume(image, c1)) == fault::wrong_state);
  CHECK(must(driver.list()) == std::vector{image});
  pool.add_image(image);
  CHECK(driver.is_sealed(image));
  must(driver.seal_volume(image));
  CHECK(pool.reopened(pool.settings)->is_sealed(image));
  CHECK(fault_of(driver.rename_volume(image, {"images", "other"})) == fault::unsupported);

  must(driver.clone_volume(image, c1));
  must(driver.clone_volume(image, c1));
  auto root = must(driver.root(c1));
  CHECK(read_text((root.lower.empty() ? root.path : root.lower) + "/rootfs/hello") == "from the image");
  CHECK(driver.traits().overlays == !root.lower.empty());

  must(driver.create_volume(c2));
  CHECK(fault_of(driver.seal_volume(c2)) == fault::invalid);
  CHECK_FALSE(driver.is_sealed(c2));
  must(driver.destroy_volume(c1));
  must(driver.destroy_volume(image));
  CHECK_FALSE(driver.is_sealed(image));
  must(driver.create_volume(image));
  CHECK_FALSE(driver.is_sealed(image)); // a new one starts unsealed
  must(driver.destroy_volume(image));
  must(driver.destroy_volume(c2));
  must(driver.destroy());
}

TEST_CASE("a container is cloned with what was written to it, and apart from then on", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  must(driver.create_volume(c1));
  write_text(driver.path(c1) + "/rootfs/file", "first");
  must(driver.clone_volume(c1, c2));
  write_text(driver.path(c2) + "/rootfs/file", "second");
  CHECK(read_text(driver.path(c1) + "/rootfs/file") == "first");
  must(driver.clone_volume(c1, c2)); // exists: stays as it is
  CHECK(read_text(driver.path(c2) + "/rootfs/file") == "second");
}

TEST_CASE("a filled volume is there when it is complete", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  volume_id kept{"snapshots", "5f0c"};
  auto put = [](const std::string& directory) -> outcome<void> {
    write_text(directory + "/file", "filled");
    return {};
  };
  CHECK(fault_of(driver.fill_volume(c1, [&](const std::string& directory) -> outcome<void> {
          must(put(directory));
          return fail(fault::invalid, "half of it");
        })) == fault::invalid);
  CHECK_FALSE(is_there(pool.directory() + "/containers/c1"));
  for (auto& id : {c1, kept}) {
    must(driver.fill_volume(id, put));
    CHECK(read_text(driver.path(id) + "/file") == "filled");
    must(driver.fill_volume(id,
                            [](const std::string&) -> outcome<void> { return fail(fault::internal, "asked again"); }));
  }
  must(driver.empty_trash());
  CHECK(count_in(pool.directory() + "/.incomplete") == 0);
}

TEST_CASE("names that are no single path component are refused", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  auto name = GENERATE(as<std::string>{}, "", ".", "..", "a/b", "../c1", "/etc", "a\nb", "a\x7f", ".hidden", "-rf",
                       std::string("a\0b", 3), std::string(256, 'x'));
  for (auto& bad : {volume_id{"containers", name}, volume_id{name, "c1"}}) {
    CHECK(fault_of(driver.create_volume(bad)) == fault::invalid);
    CHECK(fault_of(driver.clone_volume(image, bad)) == fault::invalid);
    CHECK(fault_of(driver.clone_volume(bad, c1)) == fault::invalid);
    CHECK(fault_of(driver.rename_volume(bad, c1)) == fault::invalid);
    CHECK(fault_of(driver.rename_volume(c1, bad)) == fault::invalid);
    CHECK(fault_of(driver.seal_volume(bad)) == fault::invalid);
    CHECK(fault_of(driver.destroy_volume(bad)) == fault::invalid);
    CHECK(fault_of(driver.root(bad)) == fault::invalid);
    CHECK(fault_of(driver.usage(bad)) == fault::invalid);
    CHECK_FALSE(driver.is_sealed(bad));
  }
  CHECK(fault_of(driver.create_volume({".trash", "c1"})) == fault::invalid);
  CHECK(must(driver.list()).empty());
}

TEST_CASE("nothing is listed or made in a pool that is not up", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  std::filesystem::create_directory(pool.directory());
  auto& driver = *pool.driver;
  CHECK(fault_of(driver.list()) == fault::wrong_state);
  CHECK(fault_of(driver.create_volume(c1)) == fault::wrong_state);
  CHECK(fault_of(driver.destroy_volume(c1)) == fault::wrong_state);
  CHECK(fault_of(driver.empty_trash()) == fault::wrong_state);
  CHECK(fault_of(driver.space()) == fault::wrong_state);
  CHECK_FALSE(driver.open());
  CHECK(count_in(pool.directory()) == 0);
}

TEST_CASE("usage counts what a volume holds, and space what the pool has", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  must(driver.create_volume(c1));
  auto empty = must(driver.usage(c1));
  auto rootfs = driver.path(c1) + "/rootfs";
  write_text(rootfs + "/file", std::string(1 << 20, 'x'));
  REQUIRE(link((rootfs + "/file").c_str(), (rootfs + "/again").c_str()) == 0);
  REQUIRE(symlink("/", (rootfs + "/everything").c_str()) == 0);
  unique_fd hole{open((rootfs + "/hole").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)};
  REQUIRE(ftruncate(hole.get(), 1 << 30) == 0);
  sync();
  auto grown = must(driver.usage(c1)) - empty;
  CHECK(grown >= 1 << 20);
  CHECK(grown < 2 << 20);
  auto space = must(driver.space());
  CHECK(space.total > 200u << 20);
  CHECK(space.used > 1 << 20);
  CHECK(space.used < space.total);
}

TEST_CASE("the trash is emptied of hostile trees", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  auto outside = pool.scratch.path() + "/outside";
  std::filesystem::create_directory(outside);
  write_text(outside + "/precious", "precious");
  must(driver.create_volume(c1));
  auto rootfs = driver.path(c1) + "/rootfs";
  REQUIRE(symlink(outside.c_str(), (rootfs + "/link").c_str()) == 0);
  REQUIRE(mkfifo((rootfs + "/fifo").c_str(), 0) == 0);
  std::filesystem::create_directory(rootfs + "/closed");
  write_text(rootfs + "/closed/file", "x");
  REQUIRE(chmod((rootfs + "/closed").c_str(), 0) == 0);
  unique_fd here{open(rootfs.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  for (int depth = 0; depth < 1100; ++depth) { // longer than any path, deeper than there are descriptors
    REQUIRE(mkdirat(here.get(), "deep", 0700) == 0);
    here.reset(openat(here.get(), "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(here);
  }
  here.reset();
  must(driver.usage(c1));
  must(driver.destroy_volume(c1));
  must(driver.empty_trash());
  CHECK(count_in(pool.directory() + "/.trash") == 0);
  CHECK(read_text(outside + "/precious") == "precious");
}

TEST_CASE("emptying the trash does not enter what is mounted in it", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  auto& driver = *pool.driver;
  auto outside = pool.scratch.path() + "/outside";
  std::filesystem::create_directory(outside);
  write_text(outside + "/precious", "precious");
  must(driver.create_volume(c1));
  REQUIRE(mount(outside.c_str(), (driver.path(c1) + "/rootfs").c_str(), nullptr, MS_BIND, nullptr) == 0);
  must(driver.destroy_volume(c1));
  must(driver.create_volume(c2));
  must(driver.destroy_volume(c2));
  // btrfs deletes the whole subvolume at once, and the kernel takes the mount off it.
  if (auto emptied = driver.empty_trash(); !emptied) CHECK(emptied.error().code == fault::in_use);
  CHECK(read_text(outside + "/precious") == "precious");
  CHECK(count_in(pool.directory() + "/.trash") <= 1);
  for (auto& place : pool.scratch.mounts())
    if (place.find("/.trash/") != place.npos) REQUIRE(umount(place.c_str()) == 0);
  must(driver.empty_trash());
  CHECK(count_in(pool.directory() + "/.trash") == 0);
}

TEST_CASE("volumes come and go while the trash is emptied by several at once", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  pool.add_image(image);
  std::atomic<int> failures{0};
  std::atomic<bool> busy{true};
  std::vector<std::thread> sweepers, makers;
  for (int i = 0; i < 2; ++i)
    sweepers.emplace_back([&, other = std::shared_ptr{pool.reopened(pool.settings)}] {
      while (busy) failures += !other->empty_trash();
    });
  for (int i = 0; i < 3; ++i)
    makers.emplace_back([&, i] {
      for (int round = 0; round < 15; ++round) {
        volume_id id{"containers", "c" + std::to_string(i) + '-' + std::to_string(round)};
        failures += round % 2 ? !pool.driver->create_volume(id) : !pool.driver->clone_volume(image, id);
        failures += !pool.driver->root(id);
        failures += !pool.driver->destroy_volume(id);
      }
    });
  for (auto& maker : makers) maker.join();
  busy = false;
  for (auto& sweeper : sweepers) sweeper.join();
  CHECK(failures == 0);
  CHECK(must(pool.driver->list()) == std::vector{image});
  must(pool.driver->empty_trash());
  CHECK(count_in(pool.directory() + "/.trash") == 0);
}

TEST_CASE("killed anywhere, what is visible is complete and the rest goes with the trash", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  pool.add_image(image);
  must(pool.driver->create_volume(data));
  for (int i = 0; i < 50; ++i) write_text(pool.driver->path(data) + "/file" + std::to_string(i), "complete");
  for (int round = 0; round < 25; ++round) {
    auto child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (int i = 0;; i = (i + 1) % 8) {
        auto n = std::to_string(i);
        (void)pool.driver->create_volume({"containers", "new" + n});
        (void)pool.driver->clone_volume(image, {"containers", "clone" + n});
        (void)pool.driver->clone_volume(data, {"custom", "copy" + n});
        (void)pool.driver->destroy_volume({"containers", "new" + n});
        (void)pool.driver->destroy_volume({"containers", "clone" + n});
        (void)pool.driver->destroy_volume({"custom", "copy" + n});
        if (i % 3 == 2) (void)pool.driver->empty_trash();
      }
    }
    usleep(static_cast<useconds_t>(3000 + round * 977));
    kill(child, SIGKILL);
    REQUIRE(waitpid(child, nullptr, 0) == child);
    for (auto& id : must(pool.driver->list())) {
      INFO(id.kind << '/' << id.name);
      auto root = must(pool.driver->root(id));
      if (id.name.starts_with("new")) CHECK(is_there(root.path + "/rootfs"));
      if (id.name.starts_with("clone"))
        CHECK(read_text((root.lower.empty() ? root.path : root.lower) + "/rootfs/hello") == "from the image");
      if (!root.upper.empty()) CHECK((is_there(root.upper) && is_there(root.work) && is_there(root.path)));
      if (id.kind == "custom")
        for (int i = 0; i < 50; ++i) CHECK(read_text(root.path + "/file" + std::to_string(i)) == "complete");
      if (id != image && id != data) must(pool.driver->destroy_volume(id));
    }
  }
  must(pool.driver->empty_trash());
  CHECK(count_in(pool.directory() + "/.trash") == 0);
  CHECK(count_in(pool.directory() + "/.incomplete") == 0);
  CHECK(must(pool.driver->list()).size() == 2);
}

TEST_CASE("a pool killed while it was made or removed is made or removed again", "[storage]") {
  auto driver_name = FOR_EACH_DRIVER();
  for (int round = 0; round < 8; ++round) {
    pool_fixture pool{driver_name};
    auto child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
      for (;;) (void)pool.driver->create(), (void)pool.driver->destroy();
    usleep(static_cast<useconds_t>(1000 + round * 9973));
    kill(child, SIGKILL);
    REQUIRE(waitpid(child, nullptr, 0) == child);
    if (round % 2) must(pool.driver->create());
    must(pool.driver->destroy());
    CHECK(pool.scratch.mounts().empty());
    CHECK_FALSE(is_there(pool.directory()));
    CHECK(count_in(pool.scratch.path() + "/disks") == 0);
  }
}

TEST_CASE("a snapshot keeps what its container had, and a copy of it can be written", "[storage]") {
  pool_fixture pool{FOR_EACH_DRIVER()};
  must(pool.driver->create());
  pool.add_image(image);
  must(pool.driver->clone_volume(image, c1));
  auto written = [&](const volume_id& id) { return pool.driver->path(id) + "/rootfs"; };
  std::filesystem::create_directories(written(c1));
  write_text(written(c1) + "/file", "before");
  const volume_id kept{"snapshots", "0f6a"};
  must(pool.driver->clone_volume(c1, kept));
  must(pool.driver->clone_volume(c1, kept));
  write_text(written(c1) + "/file", "after");
  CHECK(read_text(written(kept) + "/file") == "before");
  if (pool.name == "btrfs") CHECK(open((written(kept) + "/new").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600) == -1);

  must(pool.driver->clone_volume(kept, c2));
  must(pool.driver->clone_volume(kept, c2));
  CHECK(read_text(written(c2) + "/file") == "before");
  write_text(written(c2) + "/new", "new");
  CHECK(must(pool.driver->root(c2)).lower == must(pool.driver->root(c1)).lower);
  must(pool.driver->destroy_volume(c1));
  must(pool.driver->destroy_volume(c2));
  if (pool.name == "dir" && pool.driver->traits().overlays)
    CHECK(fault_of(pool.driver->destroy_volume(image)) == fault::in_use);
  must(pool.driver->destroy_volume(kept));
  must(pool.driver->destroy_volume(kept));
  must(pool.driver->destroy_volume(image));
  must(pool.driver->empty_trash());
  must(pool.driver->destroy());
}
