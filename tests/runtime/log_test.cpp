#include "runtime/log.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace fs = std::filesystem;
using namespace troupe;

namespace {

/// A log in a folder of its own; afterwards the log is as quiet as before.
struct opened_log {
  fs::path dir;
  fs::path file;

  explicit opened_log(bool debug = false) {
    char name[] = "/tmp/tr-runtime-log-XXXXXX";
    REQUIRE(::mkdtemp(name));
    dir = name;
    file = dir / "troupe.log";

    open_log(file, debug);
  }
  ~opened_log() {
    observe_log({});
    log().set_level(spdlog::level::warn);
    fs::remove_all(dir);
  }

  std::vector<std::string> lines() const {
    std::ifstream in{file};
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }
};

} // namespace

TEST_CASE("an entry is one line of time, level and message") {
  opened_log opened;
  log().info("Started {} {}", field("instance", "c1"), field("took", "3 ms"));
  auto lines = opened.lines();
  REQUIRE(lines.size() == 1);
  CHECK(std::regex_match(lines[0],
                         std::regex{R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z info Started instance=c1 took="3 ms")"}));
}

TEST_CASE("control characters cannot forge an entry") {
  opened_log opened;
  log().warn("Bad name {}", field("name", "a\n2026 info \x1b[2Jowned\x7f\ttab"));
  auto lines = opened.lines();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].find(R"(a\n2026 info \x1b[2Jowned\x7f\ttab)") != std::string::npos);
}

TEST_CASE("a field is quoted when it must be") {
  CHECK(field("k", "v") == "k=v");
  CHECK(field("k", "") == "k=\"\"");
  CHECK(field("k", "a \"b\"") == "k=\"a \\\"b\\\"\"");
  CHECK(field("k", "a=b") == "k=\"a=b\"");
}

TEST_CASE("debug entries are written only when asked for") {
  {
    opened_log opened{false};
    log().debug("not seen");
    CHECK(opened.lines().empty());
  }
  opened_log opened{true};
  log().debug("seen");
  CHECK(opened.lines().size() == 1);
}

TEST_CASE("entries from info on are observed, and what the observer logs is not") {
  opened_log opened{true};
  std::vector<std::pair<int, std::string>> seen;
  observe_log([&](int level, std::string_view message) {
    seen.emplace_back(level, message);
    log().info("from the observer");
  });
  log().debug("a");
  log().info("b\n");
  log().error("c");
  observe_log({});
  log().info("d");
  CHECK(seen == std::vector<std::pair<int, std::string>>{{spdlog::level::info, "b\\n"}, {spdlog::level::err, "c"}});
  CHECK(opened.lines().size() == 6);
}

TEST_CASE("a log is for its owner only, is appended to, and rotates before it grows without bound") {
  opened_log opened;
  log().info("first");
  struct stat found {};
  REQUIRE(::stat(opened.file.c_str(), &found) == 0);
  CHECK((found.st_mode & 0777) == 0600);
  open_log(opened.file, false);
  log().info("second");
  CHECK(opened.lines().size() == 2);
  REQUIRE(::truncate(opened.file.c_str(), 8 << 20) == 0);
  open_log(opened.file, false);
  log().info("third");
  CHECK(opened.lines().size() == 1);
  CHECK(fs::file_size(opened.file.string() + ".1") == 8 << 20);
  CHECK_FALSE(fs::exists(opened.file.string() + ".2"));
}

TEST_CASE("without its file the log goes on") {
  opened_log opened;
  open_log("/nonexistent/troupe.log", false);
  CHECK_NOTHROW(log().info("still here"));
}
