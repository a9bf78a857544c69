#include "gateway/rest/needs.hpp"

#include "messages/rights.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace troupe;

// Whoever adds a route decides here what a group's permission opens; what stays closed is named.
TEST_CASE("every route is open to who has some right, but for these") {
  const std::set<std::string> closed{"/internal/faults", "/1.0/sinks", "/1.0/events/subscriptions"};
  for (auto& row : routes()) {
    if (row.who == access::open) continue;
    CAPTURE(row.method, row.pattern);
    bool named = std::any_of(closed.begin(), closed.end(), [&](auto& each) { return row.pattern.starts_with(each); });
    CHECK(need_of(row).empty() == named);
  }
}

TEST_CASE("what a route needs is an entitlement that there is") {
  std::set<std::string_view> names{"*", ""};
  for (auto& row : entitlements()) names.insert(row.name);
  for (auto& row : routes()) {
    CAPTURE(row.method, row.pattern, need_of(row));
    CHECK(names.contains(need_of(row)));
  }
}
