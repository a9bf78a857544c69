#include "actors/instance_types.hpp"

#include <catch2/catch.hpp>

namespace troupe {

TEST_CASE("instance types stand for limits") {
  struct row {
    std::string_view type;
    config_map limits; // empty: refused
  };
  row rows[] = {
      {"c2-m4", {{"limits.cpu", "2"}, {"limits.memory", "4096MiB"}}},
      {"m4-c2", {{"limits.cpu", "2"}, {"limits.memory", "4096MiB"}}},
      {"c1", {{"limits.cpu", "1"}}},
      {"m0.5", {{"limits.memory", "512MiB"}}},
      {"t3.micro", {{"limits.cpu", "2"}, {"limits.memory", "1024MiB"}}},
      {"aws:t2.nano", {{"limits.cpu", "1"}, {"limits.memory", "512MiB"}}},
      {"gce:t2.nano", {}},
      {"c0", {}},
      {"c2-c3", {}},
      {"c-m1", {}},
      {"c2m4", {}},
      {"m-1", {}},
      {"m99999999999", {}},
      {"huge", {}},
  };
  for (auto& one : rows) {
    CAPTURE(one.type);
    auto limits = limits_of_type(one.type);
    CHECK(limits.has_value() == !one.limits.empty());
    if (limits) CHECK(*limits == one.limits);
  }
}

} // namespace troupe
