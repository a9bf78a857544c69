#include "backends/instance/id_maps.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

namespace {

constexpr id_range plain{1'000'000, 65536};

std::string uids(std::string_view exceptions) {
  auto maps = maps_of(plain, exceptions);
  return maps ? maps->uids : maps.error().message;
}

} // namespace

TEST_CASE("Without exceptions a range is one line, and a privileged instance has no map") {
  CHECK(uids("") == "0 1000000 65536\n");
  CHECK(maps_of({}, "both 1000 1000")->uids.empty());
}

TEST_CASE("Exceptions are cut out of the range") {
  CHECK(uids("both 1000 1000") == "0 1000000 1000\n1000 1000 1\n1001 1001001 64535\n");
  CHECK(uids("uid 50-60 500-510\n\n") == "0 1000000 500\n500 50 11\n511 1000511 65025\n");
  CHECK(uids("gid 5 5") == "0 1000000 65536\n");
  CHECK(maps_of(plain, "gid 5 5")->gids == "0 1000000 5\n5 5 1\n6 1000006 65530\n");
  CHECK(uids("both 7 65535") == "0 1000000 65535\n65535 7 1\n");
  CHECK(uids("both 7 70000") == "0 1000000 65536\n70000 7 1\n"); // behind the range
}

TEST_CASE("What cannot be mapped is refused") {
  for (auto bad :
       {"both", "both 1", "all 1 1", "both 1 1 1", "both x 1", "both 5-4 5-4", "uid 1-5 1-4", "both -1 1", "both 0 0",
        "both 10-20 0-10", "uid 4294967295 5", "both 5 5\nuid 6 5", "both 5 5\nuid 5 6", "both 1000005 5000"})
    CHECK_FALSE(maps_of(plain, bad));
}

TEST_CASE("An id inside has one outside") {
  auto map = uids("both 1000 1000");
  CHECK(host_id(map, 0) == 1000000);
  CHECK(host_id(map, 1000) == 1000);
  CHECK(host_id(map, 1001) == 1001001);
  CHECK(host_id("", 33) == 33);
}
