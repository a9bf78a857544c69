#include "gateway/rest/filter.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

namespace {

bool holds(const std::string& filter, const std::string& object) {
  auto parsed = list_filter::parse(filter);
  INFO(filter);
  REQUIRE(parsed);
  return parsed->matches(object);
}

const std::string one =
    R"({"name":"web1","type":"container","status":"Running","ephemeral":true,"n":3,"config":{"user.a.b":"x y"}})";

} // namespace

TEST_CASE("Clauses are joined from left to right") {
  CHECK(holds("", one));
  CHECK(holds("name eq web1", one));
  CHECK_FALSE(holds("name eq web", one));
  CHECK(holds("name ne web", one));
  CHECK(holds("not name eq web", one));
  CHECK(holds("name eq other or status eq running", one));
  CHECK_FALSE(holds("name eq web1 or status eq running and type eq virtual-machine", one));
  CHECK(holds("ephemeral eq true and n eq 3", one));
  CHECK(holds("config.user.a.b eq \"x y\"", one));
  CHECK_FALSE(holds("config.user.a.c eq x", one));
}

TEST_CASE("A value is a pattern for the whole text, or for a part with an anchor") {
  CHECK(holds("name eq web[0-9]", one));
  CHECK(holds("name eq ^we", one));
  CHECK_FALSE(holds("name eq we", one));
  CHECK(holds("name eq web1|other", one));
  CHECK(holds("name eq ((", R"({"name":"(("})"));
}

TEST_CASE("A pattern that takes others for ever takes no time, and no stack") {
  std::string text(200'000, 'a');
  CHECK_FALSE(holds("d eq (a*)*b", R"({"d":")" + text + R"("})"));
  CHECK(holds("d eq (a|aa)+", R"({"d":")" + text + R"("})"));
  CHECK_FALSE(holds("d eq (((a{1,30}){1,30}){1,30})b", R"({"d":")" + text + R"("})")); // too large: no pattern
}

TEST_CASE("What is no filter is refused") {
  for (auto text : {"name", "name eq", "name is x", "name eq x and", "name eq x xor n eq y", "name eq \"x", "not"})
    CHECK_FALSE(list_filter::parse(text));
  CHECK_FALSE(list_filter::parse("name eq " + std::string(300, 'a')));
  CHECK_FALSE(list_filter::parse(std::string(5000, 'a')));
}
