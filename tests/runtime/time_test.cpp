#include "messages/time.hpp"

#include <catch2/catch.hpp>
#include <random>

using troupe::fault;
using troupe::from_rfc3339;
using troupe::to_rfc3339;

TEST_CASE("a time is shown as Go shows it") {
  CHECK(to_rfc3339(0) == "0001-01-01T00:00:00Z");
  CHECK(to_rfc3339(1) == "1970-01-01T00:00:00.000000001Z");
  CHECK(to_rfc3339(-1) == "1969-12-31T23:59:59.999999999Z");
  CHECK(to_rfc3339(1709210096'123456789) == "2024-02-29T12:34:56.123456789Z");
  CHECK(to_rfc3339(1709210096'120000000) == "2024-02-29T12:34:56.12Z");
  CHECK(to_rfc3339(1709210096'000000000) == "2024-02-29T12:34:56Z");
}

TEST_CASE("a time of any offset is read") {
  CHECK(from_rfc3339("0001-01-01T00:00:00Z") == 0);
  CHECK(from_rfc3339("1970-01-01T00:00:00Z") == 0);
  CHECK(from_rfc3339("2024-02-29T12:34:56.12Z") == 1709210096'120000000);
  CHECK(from_rfc3339("2024-02-29T14:04:56+01:30") == 1709210096'000000000);
  CHECK(from_rfc3339("2024-02-29T07:34:56.5-05:00") == 1709210096'500000000);
}

TEST_CASE("every time survives being shown and read") {
  std::mt19937_64 dice{7};
  std::uniform_int_distribution<int64_t> any{-9'000'000'000'000'000'000, 9'000'000'000'000'000'000};
  for (int i = 0; i < 10000; ++i) {
    auto ns = any(dice);
    CHECK(from_rfc3339(to_rfc3339(ns)) == ns);
  }
}

TEST_CASE("what is not a time is refused") {
  for (auto text : {"",
                    "now",
                    "2024-02-30T00:00:00Z",
                    "2023-02-29T00:00:00Z",
                    "2024-13-01T00:00:00Z",
                    "2024-00-01T00:00:00Z",
                    "2024-01-01T24:00:00Z",
                    "2024-01-01T00:60:00Z",
                    "2024-01-01T00:00:60Z",
                    "2024-01-01T00:00:00",
                    "2024-01-01T00:00:00.Z",
                    "2024-01-01T00:00:00.1234567890Z",
                    "2024-01-01T00:00:00.123",
                    "2024-01-01T00:00:00+1:00",
                    "2024-01-01T00:00:00+24:00",
                    "2024-01-01T00:00:00Zjunk",
                    "2024-01-01 00:00:00Z",
                    "+024-01-01T00:00:00Z",
                    "20240101T000000Z",
                    "0000-01-01T00:00:00Z",
                    "0001-01-01T00:00:01Z",
                    "1677-01-01T00:00:00Z",
                    "2262-12-31T00:00:00Z",
                    "9999-12-31T23:59:59Z"}) {
    INFO(text);
    auto got = from_rfc3339(text);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == fault::invalid);
  }
}
