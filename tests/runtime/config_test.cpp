#include "runtime/config.hpp"
#include "runtime/limits.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <regex>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace fs = std::filesystem;
using namespace troupe;

namespace {

struct scratch {
  fs::path dir;
  scratch() {
    char name[] = "/tmp/tr-runtime-state-XXXXXX";
    REQUIRE(::mkdtemp(name));
    dir = name;
  }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  ~scratch() { fs::remove_all(dir); }
};

mode_t mode_of(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
}

outcome<daemon_config> parse(std::initializer_list<const char*> arguments) {
  std::vector<const char*> argv{"trouped"};
  argv.insert(argv.end(), arguments);
  return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

} // namespace

TEST_CASE("the state directory comes from the option, the environment or is the standard one") {
  ::unsetenv("TROUPE_DIR");
  CHECK(parse({})->directory == "/var/lib/troupe");
  CHECK_FALSE(parse({})->debug);
  ::setenv("TROUPE_DIR", "/tmp/from-environment", 1);
  CHECK(parse({"--debug"})->directory == "/tmp/from-environment");
  CHECK(parse({"--debug"})->debug);
  CHECK(parse({"--dir", "/tmp/a"})->directory == "/tmp/a");
  CHECK(parse({"--dir=/tmp/b"})->directory == "/tmp/b");
  ::unsetenv("TROUPE_DIR");
}

TEST_CASE("a command line that makes no sense is refused, questions are answered") {
  CHECK(parse({"--unknown"}).error().code == fault::invalid);
  CHECK(parse({"--dir"}).error().code == fault::invalid);
  CHECK(parse({"--dir", ""}).error().code == fault::invalid);
  CHECK(parse({"stray"}).error().code == fault::invalid);
  CHECK(parse({"--version"})->say == "trouped " TROUPE_VERSION "\n");
  CHECK(parse({"--help"})->say.find("--dir") != std::string::npos);
  CHECK(parse({})->say.empty());
}

TEST_CASE("a state directory is made with its folders and modes, whatever the umask and the modes before") {
  scratch s;
  auto old = ::umask(0077);
  {
    auto made = prepare_state_dir(s.dir / "deep" / "state");
    ::umask(old);
    REQUIRE(made);
    CHECK(made->path == s.dir / "deep" / "state");
    CHECK(made->unix_socket == made->path + "/unix.socket");
    for (auto& path : {made->path, made->storage_pools, made->networks, made->lxc}) CHECK(mode_of(path) == 0711);
    for (auto& path : {made->database, made->images, made->spool, made->disks, made->logs})
      CHECK(mode_of(path) == 0700);
    CHECK(mode_of(made->lock) == 0600);
    CHECK_FALSE(fs::exists(made->unix_socket));
    REQUIRE(::chmod(made->database.c_str(), 0777) == 0);
  }
  auto again = prepare_state_dir(s.dir / "deep" / "state");
  REQUIRE(again);
  CHECK(mode_of(again->database) == 0700);
}

TEST_CASE("a second daemon on the same directory is refused, under whatever name, until the first is gone") {
  scratch s;
  auto first = prepare_state_dir(s.dir / "state");
  REQUIRE(first);
  fs::create_directory_symlink(s.dir / "state", s.dir / "link");
  for (auto name : {s.dir / "state", s.dir / "link", s.dir / "state/../state/"}) {
    auto second = prepare_state_dir(name);
    REQUIRE_FALSE(second);
    CHECK(second.error().code == fault::busy);
    CHECK(second.error().message == "Another daemon (process " + std::to_string(::getpid()) +
                                        ") uses the state directory " + (s.dir / "state").string());
  }
  first->held.reset();
  CHECK(prepare_state_dir(s.dir / "link"));
}

TEST_CASE("the id of a directory is that of its canonical path") {
  scratch s;
  fs::create_directories(s.dir / "a");
  fs::create_directory_symlink(s.dir / "a", s.dir / "link");
  auto id = [](const fs::path& p) { return prepare_state_dir(p)->id; };
  auto a = id(s.dir / "a");
  CHECK(std::regex_match(a, std::regex{"[0-9a-f]{8}"}));
  CHECK(id(s.dir / "a/") == a);
  CHECK(id(s.dir / "link") == a);
  CHECK(id(s.dir / "b") != a);
}

TEST_CASE("a state directory that cannot be is refused with its reason") {
  scratch s;
  CHECK(prepare_state_dir("").error().code == fault::invalid);
  CHECK(prepare_state_dir(s.dir / std::string(90, 'x')).error().code == fault::invalid);
  std::ofstream{s.dir / "file"} << "x";
  CHECK(prepare_state_dir(s.dir / "file").error().code == fault::backend_failed);
  CHECK(prepare_state_dir(s.dir / "file" / "below").error().code == fault::backend_failed);
  if (::geteuid() != 0) return;
  fs::create_directory(s.dir / "foreign");
  REQUIRE(::chown((s.dir / "foreign").c_str(), 12345, 12345) == 0);
  CHECK(prepare_state_dir(s.dir / "foreign").error().code == fault::forbidden);
}

TEST_CASE("a link in place of the lock is not followed") {
  scratch s;
  REQUIRE(prepare_state_dir(s.dir / "state"));
  fs::remove(s.dir / "state" / "lock");
  fs::create_symlink(s.dir / "victim", s.dir / "state" / "lock");
  CHECK_FALSE(prepare_state_dir(s.dir / "state"));
  CHECK_FALSE(fs::exists(s.dir / "victim"));
}

TEST_CASE("the limit of open files is raised to what is allowed") {
  rlimit before{}, after{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit low = before;
  low.rlim_cur = std::min<rlim_t>(before.rlim_cur, 256);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
  CHECK(raise_open_files() == before.rlim_max);
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &after) == 0);
  CHECK(after.rlim_cur == before.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &before);
}
