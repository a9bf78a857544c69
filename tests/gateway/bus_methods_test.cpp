#include "gateway/bus/methods.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace troupe;

// What has no row of its own in REST is for those who may do everything; a new method begins there.
TEST_CASE("every method of the bus has the access of a route, but for these") {
  const std::set<std::string> closed{"Bus.sessions"};
  std::set<std::string> found;
  size_t served = 0;
  for (auto& type : on_bus::interfaces())
    for (auto method : type.getMethods()) {
      auto* facts = on_bus::find_method(type.getProto().getId(), method.getOrdinal());
      REQUIRE(facts);
      if (!facts->run) continue;
      ++served;
      if (!facts->same_as) found.insert(facts->name);
    }
  CHECK(served > 70);
  CHECK(found == closed);
}

TEST_CASE("a method of the bus that only reads has the access of a GET") {
  for (auto& type : on_bus::interfaces())
    for (auto method : type.getMethods())
      if (auto& facts = *on_bus::find_method(type.getProto().getId(), method.getOrdinal());
          facts.same_as && facts.reads) {
        CAPTURE(facts.name);
        CHECK(facts.same_as->method == "GET");
      }
}
