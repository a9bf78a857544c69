#include "cli/child.hpp"
#include "cli/image/recipe.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"
#include "cli/scratch_dir.hpp"
#include "cli/sha256.hpp"
#include "messages/unique_fd.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace troupe;

namespace {

std::string hash_of(const std::string& path) {
  unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  int fds[] = {file.get()};
  return sha256_of_files(fds).value();
}

} // namespace

TEST_CASE("a busybox image built twice is the same image", "[cli][image]") {
  interrupt stop;
  progress shown{"test"};
  std::vector<std::string> hashes;
  for (int i = 0; i < 2; ++i) {
    auto folder = scratch_dir::make("test").value();
    auto files = cook_busybox({folder.path(), "", stop, shown});
    REQUIRE(files);
    CHECK(files->rootfs.empty());
    hashes.push_back(hash_of(files->metadata));
    auto listed = run_child({.arguments = {"tar", "-tvzf", files->metadata}}, stop);
    REQUIRE(listed);
    for (auto* entry : {" metadata.yaml\n", " rootfs/bin/busybox\n", " rootfs/sbin/init -> /bin/busybox\n",
                        " templates/hostname.tpl\n"})
      CHECK_THAT(listed->output, Catch::Contains(entry));
  }
  CHECK(hashes[0] == hashes[1]);
}

TEST_CASE("a scratch folder goes with everything in it", "[cli][image]") {
  std::string path;
  {
    auto folder = scratch_dir::make("test").value();
    path = folder.path();
    std::filesystem::create_directories(path + "/a/b");
    std::filesystem::create_symlink("/etc", path + "/a/link");
    CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::others_all) ==
          std::filesystem::perms::none);
  }
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(std::filesystem::exists("/etc/passwd"));
}

TEST_CASE("a child's streams and exit code are told apart", "[cli][child]") {
  interrupt stop;
  std::vector<std::string> lines;
  child_request request{.arguments = {"sh", "-c", "echo out; echo one >&2; printf two >&2; echo $EXTRA; exit 3"}};
  request.environment = {"EXTRA=yes"};
  request.on_error_line = [&](const std::string& line) { lines.push_back(line); };
  auto result = run_child(request, stop);
  REQUIRE(result);
  CHECK(result->exit_code == 3);
  CHECK(result->output == "out\nyes\n");
  CHECK(lines == std::vector<std::string>{"one", "two"});
  CHECK(run_child({.arguments = {"no-such-program-here"}}, stop).error().code == fault::not_found);
}

TEST_CASE("an interrupted child is ended with its group", "[cli][child]") {
  interrupt stop;
  child_request request{.arguments = {"sh", "-c", "sleep 1000 & echo $! >&2; wait"}};
  unique_fd grandchild;
  request.on_error_line = [&](const std::string& line) {
    grandchild = unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, std::stoi(line), 0))};
    ::kill(::getpid(), SIGTERM);
  };
  auto result = run_child(request, stop);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == fault::cancelled);
  REQUIRE(grandchild);
  pollfd ended{grandchild.get(), POLLIN, 0};
  CHECK(::poll(&ended, 1, 10'000) == 1);
}
