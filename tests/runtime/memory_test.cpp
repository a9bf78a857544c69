#include "runtime/memory.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <string>

using namespace troupe;

namespace {

// Pages of files this process has mapped and looked at, in KiB.
long resident_file_pages() {
  std::ifstream status{"/proc/self/status"};
  for (std::string word; status >> word;)
    if (long size = 0; word == "RssFile:" && status >> size) return size;
  return -1;
}

} // namespace

TEST_CASE("pages of programs that only the start used are given back") {
  CHECK_NOTHROW(tune_allocator());
  auto before = resident_file_pages();
  drop_start_pages();
  auto after = resident_file_pages();
  REQUIRE(after > 0); // and the program goes on
  CHECK(after < before);
}
