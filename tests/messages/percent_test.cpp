#include "messages/percent.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

TEST_CASE("percent-decoding") {
  CHECK(percent_decoded("a%20b%2Fc%c3%A4") == "a b/c\xc3\xa4");
  CHECK(percent_decoded("a+b") == "a+b");
  CHECK(percent_decoded("a+b%2B", true) == "a b+");
  CHECK(percent_decoded("") == "");
  for (auto broken : {"%", "%4", "a%4", "%zz", "%4x", "%-1", "% 1", "%00", "a%00b"}) {
    CAPTURE(broken);
    CHECK_FALSE(percent_decoded(broken));
  }
}
