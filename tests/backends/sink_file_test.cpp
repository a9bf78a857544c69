#include "backends/sink/writers.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdlib.h>
#include <sys/stat.h>

using namespace troupe;

namespace {

struct scratch {
  std::string path = "/tmp/troupe-sink-XXXXXX";
  scratch() { REQUIRE(::mkdtemp(path.data())); }
  ~scratch() { std::filesystem::remove_all(path); }

  std::string file(const std::string& name = "out") const { return path + "/" + name; }
  std::string text(const std::string& name = "out") const {
    std::ifstream in{file(name)};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
};

std::vector<sink_record> records(std::initializer_list<std::string> data) {
  std::vector<sink_record> out;
  for (auto& each : data) out.push_back({"id", "m1", "t", "s", "now", each});
  return out;
}

sink_progress write(sink_writer& sink, std::initializer_list<std::string> data) { return sink.write(records(data)); }

} // namespace

TEST_CASE("a file sink appends one line per event", "[sink]") {
  scratch folder;
  for (int run = 0; run < 2; ++run) {
    auto sink = make_file_sink(folder.path, "out");
    auto done = write(*sink, {"{1}", "{2}"});
    CHECK(done.accepted == 2);
    CHECK_FALSE(done.failure);
  }
  CHECK(folder.text() == "{1}\n{2}\n{1}\n{2}\n");
  CHECK((std::filesystem::status(folder.file()).permissions() & std::filesystem::perms::all) ==
        (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
}

TEST_CASE("a file sink goes on in a new file when its file was moved away", "[sink]") {
  scratch folder;
  auto sink = make_file_sink(folder.path, "out");
  write(*sink, {"{1}"});
  std::filesystem::rename(folder.file(), folder.file("out.1"));
  CHECK(write(*sink, {"{2}"}).accepted == 1);
  std::filesystem::remove(folder.file());
  CHECK(write(*sink, {"{3}"}).accepted == 1);
  CHECK(folder.text("out.1") == "{1}\n");
  CHECK(folder.text() == "{3}\n");
}

TEST_CASE("a line that a crash tore is cut off before more is written", "[sink]") {
  auto [found, kept] = GENERATE(table<std::string, std::string>({
      {"{1}\n{2", "{1}\n"},
      {"{1", ""},
      {"{1}\n", "{1}\n"},
      {std::string(10'000, 'x'), ""},
      {"{1}\n" + std::string(10'000, 'x'), "{1}\n"},
  }));
  scratch folder;
  std::ofstream{folder.file()} << found;
  CHECK(write(*make_file_sink(folder.path, "out"), {"{9}"}).accepted == 1);
  CHECK(folder.text() == kept + "{9}\n");
}

TEST_CASE("a file sink writes into files only, and follows no link", "[sink]") {
  scratch folder;
  SECTION("link") { std::filesystem::create_symlink(folder.file("elsewhere"), folder.file()); }
  SECTION("pipe") { REQUIRE(::mkfifo(folder.file().c_str(), 0600) == 0); }
  SECTION("directory") { std::filesystem::create_directory(folder.file()); }
  SECTION("no folder") { std::filesystem::remove_all(folder.path); }
  auto done = write(*make_file_sink(folder.path, "out"), {"{1}"});
  CHECK(done.accepted == 0);
  REQUIRE(done.failure);
  CHECK_FALSE(done.refused);
  CHECK_FALSE(std::filesystem::exists(folder.file("elsewhere")));
}

TEST_CASE("a file sink that cannot write says so and recovers", "[sink]") {
  scratch folder;
  auto sink = make_file_sink(folder.path, "out");
  std::filesystem::create_directory(folder.file());
  CHECK(write(*sink, {"{1}"}).failure);
  std::filesystem::remove(folder.file());
  CHECK(write(*sink, {"{1}"}).accepted == 1);
  sink->stop();
  CHECK(write(*sink, {"{2}"}).failure->code == fault::cancelled);
  CHECK(folder.text() == "{1}\n");
}

TEST_CASE("two writers of one file do not cut each other's lines", "[sink]") {
  scratch folder;
  auto first = make_file_sink(folder.path, "out");
  write(*first, {"{1}"});
  auto second = make_file_sink(folder.path, "out");
  CHECK(write(*second, {"{2}"}).failure);
  first.reset();
  CHECK(write(*second, {"{2}"}).accepted == 1);
  CHECK(folder.text() == "{1}\n{2}\n");
}
