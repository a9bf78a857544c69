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

TEST_CASE("what is below an instance is not simply seen or deleted with it") {
  auto need = [](std::string_view method, std::string_view pattern) {
    for (auto& row : routes())
      if (row.method == method && row.pattern == pattern) return need_of(row);
    return std::string_view{"no such route"};
  };
  const std::string instance = "/1.0/instances/{name}", output = instance + "/logs/exec-output";
  CHECK(need("GET", instance + "/logs/{file}") == "can_view");
  CHECK(need("GET", output) == "can_exec"); // what commands said
  CHECK(need("GET", output + "/{file}") == "can_exec");
  CHECK(need("DELETE", output + "/{file}") == "can_exec");
  CHECK(need("GET", instance + "/metadata/templates") == "can_view");
  for (auto method : {"POST", "DELETE"}) CHECK(need(method, instance + "/metadata/templates") == "can_edit");
}
