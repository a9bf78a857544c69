#include "cli/init/preseed.hpp"

#include "cli/server.hpp"
#include "fake_server.hpp"

#include <catch2/catch.hpp>

using namespace troupe;
using namespace troupe::test;
using nlohmann::json;

namespace {

constexpr const char* full = R"(
config:
  images.auto_update_interval: 15
networks:
- name: br9
  type: bridge
  config:
    ipv4.address: auto
    ipv4.nat: true
storage_pools:
- name: p1
  driver: dir
profiles:
- name: default
  devices:
    root: {path: /, pool: p1, type: disk}
cluster: null
)";

} // namespace

TEST_CASE("every value of a preseed is text", "[cli][preseed]") {
  auto setup = parse_preseed(full);
  REQUIRE(setup);
  CHECK((*setup)["config"]["images.auto_update_interval"] == "15");
  CHECK((*setup)["networks"][0]["config"]["ipv4.nat"] == "true");
  CHECK((*setup)["profiles"][0]["devices"]["root"]["path"] == "/");
}

TEST_CASE("a preseed with anything unknown is refused and names it", "[cli][preseed]") {
  struct row {
    const char* yaml;
    const char* named;
  };
  auto bad = GENERATE(row{"storage: []", "storage"}, row{"networks:\n- name: a\n  nat: true", "nat"},
                      row{"networks: {}", "networks"}, row{"profiles:\n- description: x", "no name"},
                      row{"config:\n  a: [1]", "a"}, row{"config: {a: 1, a: 2}", "twice"},
                      row{"projects:\n- name: p2", "default"}, row{"cluster: {enabled: true}", "Clustering"},
                      row{"networks:\n- name: a\n  project: p2", "default"}, row{"config: [", "line"},
                      row{"- 1", "map"}, row{"storage_pools:\n- name: p\n  config: {source: {x: y}}", "source"});
  CAPTURE(bad.yaml);
  auto setup = parse_preseed(bad.yaml);
  REQUIRE_FALSE(setup);
  CHECK_THAT(setup.error().message, Catch::Contains(bad.named));
}

TEST_CASE("an empty preseed wants nothing", "[cli][preseed]") { CHECK(parse_preseed("").value().empty()); }

TEST_CASE("a set-up that is as wanted is not touched", "[cli][preseed]") {
  std::map<std::string, json> objects = {{"/1.0", {{"config", json::object()}}}};
  std::vector<std::string> changes;
  fake_server fake{[&](const seen_request& r) {
    auto body = json::parse(r.body, nullptr, false);
    if (r.method == "GET") return objects.contains(r.target) ? sync(objects[r.target]) : refused(404, "not found");
    changes.push_back(r.method + " " + r.target);
    if (r.method == "POST") {
      if (r.target == "/1.0/networks") body["config"]["ipv4.address"] = "10.1.2.1/24"; // the server chose for "auto"
      objects[r.target + "/" + body["name"].get<std::string>()] = body;
    } else {
      objects[r.target].merge_patch(body);
    }
    return sync(json::object());
  }};
  server daemon{fake.dir()};
  auto setup = parse_preseed(full).value();
  REQUIRE(apply_setup(daemon, setup, [](auto&) {}));
  CHECK(changes ==
        std::vector<std::string>{"PATCH /1.0", "POST /1.0/networks", "POST /1.0/storage-pools", "POST /1.0/profiles"});
  changes.clear();
  REQUIRE(apply_setup(daemon, setup, [](auto&) {}));
  CHECK(changes.empty());
  setup["storage_pools"][0]["driver"] = "btrfs";
  CHECK_FALSE(apply_setup(daemon, setup, [](auto&) {}));
  setup["storage_pools"][0].erase("driver");
  setup["profiles"][0]["devices"]["eth0"] = {{"type", "nic"}, {"network", "br9"}};
  REQUIRE(apply_setup(daemon, setup, [](auto&) {}));
  CHECK(changes == std::vector<std::string>{"PUT /1.0/profiles/default"});
  CHECK(objects["/1.0/profiles/default"]["devices"].size() == 2);
}

TEST_CASE("a set-up that fails half-way is taken back", "[cli][preseed]") {
  std::vector<std::string> changes;
  fake_server fake{[&](const seen_request& r) {
    if (r.method == "GET" && r.target == "/1.0") return sync({{"config", json::object()}});
    if (r.method == "GET") return refused(404, "not found");
    changes.push_back(r.method + " " + r.target);
    return r.target == "/1.0/profiles" ? refused(400, "No such pool") : sync(json::object());
  }};
  auto done = apply_setup(server{fake.dir()}, parse_preseed(full).value(), [](auto&) {});
  REQUIRE_FALSE(done);
  CHECK(done.error().message == "No such pool");
  REQUIRE(changes.size() == 6);
  CHECK(changes[4] == "DELETE /1.0/storage-pools/p1");
  CHECK(changes[5] == "DELETE /1.0/networks/br9");
}
