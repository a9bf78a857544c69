#include "actors/policy.hpp"

#include "actors/device_options.hpp"
#include "actors/project_keys.hpp"
#include "actors/project_use.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

namespace {

const config_map restricted{{"restricted", "true"}};

config_map restricted_but(std::string key, std::string value) {
  return {{"restricted", "true"}, {std::move(key), std::move(value)}};
}

device_map root_only() { return {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "p"}}}}; }

expansion with_key(std::string key, std::string value) { return {{{std::move(key), std::move(value)}}, root_only()}; }

expansion with_nic(config_map nic) {
  nic["type"] = "nic";
  auto devices = root_only();
  devices["eth0"] = std::move(nic);
  return {{}, devices};
}

// A value that is well-formed and is not what an instance without the key has.
std::string telling_value(const key_row& row) {
  static const std::map<value_type, std::string> values{{value_type::text, "x"},
                                                        {value_type::boolean, "true"},
                                                        {value_type::whole, "7"},
                                                        {value_type::size, "1MiB"},
                                                        {value_type::memory, "64MiB"},
                                                        {value_type::cpus, "1"},
                                                        {value_type::allowance, "50%"},
                                                        {value_type::lines, "a = b"},
                                                        {value_type::line, "x"},
                                                        {value_type::integer, "-7"},
                                                        {value_type::level, "7"},
                                                        {value_type::rlimit, "64"},
                                                        {value_type::names, "overlay"},
                                                        {value_type::span, "3d"},
                                                        {value_type::times, "@daily"},
                                                        {value_type::pattern, "x%d"},
                                                        {value_type::idmap, "both 1000 1000"}};
  if (!row.choices.empty()) return std::string{row.choices.substr(row.choices.rfind(' ') + 1)};
  if (row.type == value_type::boolean && row.fallback == "true") return "false";
  REQUIRE(is_well_formed(row.type, values.at(row.type)));
  return values.at(row.type);
}

std::string telling_key(const key_row& row) {
  return row.key.ends_with('*') ? std::string{row.key.substr(0, row.key.size() - 1)} + "some" : std::string{row.key};
}

bool allowed(const config_map& rules, const expansion& effective) {
  auto judged = judge("p", rules, effective);
  if (!judged) CHECK(judged.error().code == fault::forbidden);
  return judged.has_value();
}

} // namespace

TEST_CASE("in a restricted project every key that is not marked tenant_safe is refused, and every marked one is not") {
  size_t closed = 0;
  for (auto& row : instance_keys()) {
    INFO(row.key);
    CHECK(allowed(restricted, with_key(telling_key(row), telling_value(row))) == row.tenant_safe);
    CHECK(allowed({}, with_key(telling_key(row), telling_value(row))));
    CHECK(allowed(restricted, with_key(telling_key(row), ""))); // an empty key is no key
    closed += !row.tenant_safe;
  }
  CHECK(closed >= 5);
}

TEST_CASE("a key that nobody knows is refused") { CHECK_FALSE(allowed(restricted, with_key("brand.new", "1"))); }

TEST_CASE("each rule opens its own keys only") {
  CHECK(allowed(restricted_but("restricted.containers.nesting", "allow"), with_key("security.nesting", "true")));
  CHECK_FALSE(allowed(restricted_but("restricted.containers.nesting", "allow"), with_key("raw.lxc", "a = b")));
  CHECK(allowed(restricted_but("restricted.containers.lowlevel", "allow"), with_key("raw.lxc", "a = b")));
  CHECK(allowed(restricted_but("restricted.containers.lowlevel", "allow"), with_key("linux.sysctl.net.x", "1")));
  CHECK_FALSE(allowed(restricted_but("restricted.containers.lowlevel", "allow"), with_key("security.nesting", "true")));
  CHECK(allowed(restricted, with_key("security.nesting", "false"))); // judged is the effect
  auto refusal = judge("p", restricted, with_key("security.nesting", "true"));
  REQUIRE_FALSE(refusal);
  CHECK(refusal.error().message ==
        "Config key \"security.nesting\" is not allowed in project \"p\" (restricted.containers.nesting=block)");
}

TEST_CASE("how privileged a container may be") {
  auto privileged = with_key("security.privileged", "true"), isolated = with_key("security.idmap.isolated", "true");
  CHECK_FALSE(allowed(restricted, privileged));
  CHECK(allowed(restricted, isolated));
  CHECK(allowed(restricted_but("restricted.containers.privilege", "allow"), privileged));
  auto strict = restricted_but("restricted.containers.privilege", "isolated");
  CHECK(allowed(strict, isolated));
  CHECK_FALSE(allowed(strict, {{}, root_only()})); // what is missing is judged on its effect
  CHECK_FALSE(allowed(strict, with_key("security.idmap.isolated", "")));
}

TEST_CASE("which networks and devices may be used") {
  CHECK(allowed(restricted, with_nic({{"network", "n1"}})));
  CHECK_FALSE(allowed(restricted, with_nic({{"nictype", "bridged"}, {"parent", "br0"}})));
  CHECK(allowed(restricted_but("restricted.devices.nic", "allow"),
                with_nic({{"nictype", "bridged"}, {"parent", "br0"}})));
  CHECK_FALSE(allowed(restricted_but("restricted.devices.nic", "block"), with_nic({{"network", "n1"}})));
  config_map named{{"network", "n1"}, {"host_name", "lxdbr0"}};
  CHECK_FALSE(allowed(restricted, with_nic(named)));
  CHECK(allowed(restricted_but("restricted.devices.nic", "allow"), with_nic(named)));
  auto routed = [](const char* to) { return with_nic({{"network", "n1"}, {"ipv4.routes", to}}); };
  CHECK_FALSE(allowed(restricted, routed("192.0.2.0/24")));
  CHECK(allowed(restricted_but("restricted.devices.nic", "allow"), routed("192.0.2.0/24")));
  auto subnets = restricted_but("restricted.networks.subnets", "n2:198.51.100.0/24, n1:192.0.2.0/25");
  CHECK(check_project_config(subnets));
  CHECK_FALSE(check_project_config(restricted_but("restricted.networks.subnets", "192.0.2.0/25")));
  CHECK(allowed(subnets, routed("192.0.2.0/25,192.0.2.8/29")));
  for (auto route : {"192.0.2.0/24", "192.0.2.128/25", "198.51.100.0/25", "192.0.2.0/25,198.51.100.0/25"})
    CHECK_FALSE(allowed(subnets, routed(route)));
  auto access = restricted_but("restricted.networks.access", "n2, n1");
  CHECK(allowed(access, with_nic({{"network", "n1"}})));
  CHECK_FALSE(allowed(access, with_nic({{"network", "n"}})));
  access["restricted.devices.nic"] = "allow";
  CHECK_FALSE(allowed(access, with_nic({{"nictype", "bridged"}, {"parent", "br0"}})));
  auto devices = root_only();
  devices["gpu"] = {{"type", "gpu"}};
  CHECK_FALSE(allowed(restricted, {{}, devices}));
  devices["gpu"] = {{"type", "none"}};
  CHECK(allowed(restricted, {{}, devices}));
}

TEST_CASE("a restricted project opens kinds of devices, and disks below some folders") {
  auto with_device = [](config_map device) {
    auto devices = root_only();
    devices["d"] = std::move(device);
    return expansion{{}, devices};
  };
  for (auto& kind : device_kinds()) {
    INFO(kind.kind);
    bool nic = kind.kind.starts_with("nic-");
    config_map device{{"type", nic ? "nic" : std::string{kind.kind}}};
    if (nic) device["nictype"] = kind.kind.substr(4);
    CHECK(allowed(restricted, with_device(device)) == kind.rule.empty());
    if (!kind.rule.empty()) CHECK(allowed(restricted_but(std::string{kind.rule}, "allow"), with_device(device)));
  }
  auto disk = [&](const char* source) { return with_device({{"type", "disk"}, {"path", "/m"}, {"source", source}}); };
  auto rules = restricted_but("restricted.devices.disk", "allow");
  CHECK(allowed(rules, disk("/etc")));
  rules["restricted.devices.disk.paths"] = "/srv/, /opt/a";
  for (auto source : {"/srv", "/srv/x", "/opt/a", "/opt/a/b", "tmpfs:"}) CHECK(allowed(rules, disk(source)));
  for (auto source : {"/", "/srvx", "/opt", "/opt/ab"}) CHECK_FALSE(allowed(rules, disk(source)));
}

TEST_CASE("what no rule is about makes no difference, everything else does") {
  auto plain = expansion{{}, root_only()};
  for (auto& row : instance_keys()) {
    INFO(row.key);
    bool judged = !row.tenant_safe || row.key.starts_with("limits.") || row.key.starts_with("security.");
    CHECK(differ_by_rule(plain, with_key(telling_key(row), telling_value(row))) == judged);
  }
  CHECK(differ_by_rule(plain, with_key("brand.new", "1")));
  CHECK(differ_by_rule(plain, with_nic({{"network", "n1"}})));
  CHECK_FALSE(differ_by_rule(with_key("user.a", "1"), with_key("user.a", "2")));
}

TEST_CASE("project keys: values, what is not built yet, what nobody knows") {
  auto code = [](config_map config) -> std::optional<fault> {
    auto checked = check_project_config(config);
    if (checked) return std::nullopt;
    return checked.error().code;
  };
  CHECK(code({{"limits.memory", "1GiB"}, {"restricted.devices.gpu", "block"}, {"user.x", "y"}}) == std::nullopt);
  CHECK(code({{"restricted.devices.infiniband", "allow"}}) == fault::unsupported);
  CHECK(code({{"restricted.devices.gpu", "allow"}}) == std::nullopt);
  CHECK(code({{"restricted.devices.proxy", "allow"}, {"restricted.devices.disk.paths", "/a, /b"}}) == std::nullopt);
  CHECK(code({{"restricted.devices.gpu", "perhaps"}}) == fault::invalid);
  CHECK(code({{"features.networks", "yes"}}) == std::nullopt);
  CHECK(code({{"features.networks.zones", "false"}}) == fault::unsupported);
  CHECK(code({{"features.storage.buckets", "true"}}) == fault::unsupported);
  CHECK(code({{"features.networks", "false"}}) == std::nullopt);
  CHECK(code({{"limits.networks", "1"}}) == std::nullopt);
  CHECK(code({{"limits.networks.uplink_ips.x", "1"}}) == fault::unsupported);
  CHECK(code({{"limits.disk", "1GiB"}}) == std::nullopt);
  CHECK(code({{"limits.disk", "much"}}) == fault::invalid);
  CHECK(code({{"limits.disk.pool.fast", "1GiB"}}) == std::nullopt);
  CHECK(code({{"limits.disk.pool.fast", "much"}}) == fault::invalid);
  CHECK(code({{"restricted.idmap.uid", "1000,2000-2010"}, {"restricted.idmap.gid", "5"}}) == std::nullopt);
  CHECK(code({{"restricted.idmap.uid", "1000-"}}) == fault::invalid);
  CHECK(code({{"limits.instances", "many"}}) == fault::invalid);
  CHECK(code({{"limits.instances", "-1"}}) == fault::invalid);
  CHECK(code({{"nonsense", "1"}}) == fault::invalid);
  CHECK(code({{"user.a b", "1"}}) == fault::invalid);
  CHECK(code({{"user.", "1"}}) == fault::invalid);
}

TEST_CASE("raw.idmap names what the project may name") {
  auto some = restricted_but("restricted.idmap.uid", "1000,2000-2010");
  some["restricted.idmap.gid"] = "2000-2005";
  auto mapped = [&](const char* value) { return allowed(some, with_key("raw.idmap", value)); };
  CHECK_FALSE(allowed(restricted, with_key("raw.idmap", "uid 1000 1000")));
  CHECK(mapped("uid 1000 1000"));
  CHECK(mapped("uid 2000-2010 500-510\nboth 2001 2001"));
  for (auto value : {"both 1000 1000", "gid 1000 1000", "uid 1001 1000", "uid 1999-2001 500-502", "uid 2010-2011 1-2",
                     "uid 1000 1000\nuid 0 7", "uid 1000 0"})
    CHECK_FALSE(mapped(value));
}

TEST_CASE("a pool can have a limit of its own") {
  config_map rules{{"limits.disk.pool.fast", "10MiB"}};
  auto on = [](const char* pool, const char* bytes) {
    return expansion{{}, {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", pool}, {"size", bytes}}}}};
  };
  auto container = schema::InstanceType::CONTAINER;
  CHECK(is_limited(rules));
  CHECK_FALSE(use_of("p", rules, container, on("fast", "")));
  CHECK(use_of("p", rules, container, on("slow", "")));
  auto sum = *use_of("p", rules, container, on("fast", "6MiB"));
  sum += *use_of("p", rules, container, on("slow", "100MiB"));
  CHECK(check_limits("p", rules, sum));
  sum += *use_of("p", rules, container, on("fast", "4MiB"));
  CHECK(check_limits("p", rules, sum));
  sum += *use_of("p", rules, container, on("fast", "1"));
  CHECK_FALSE(check_limits("p", rules, sum));
}

TEST_CASE("limits add up, and need each instance to say what it takes") {
  config_map rules{{"limits.memory", "1GiB"}, {"limits.cpu", "3"}, {"limits.instances", "2"}};
  auto container = schema::InstanceType::CONTAINER;
  expansion small{{{"limits.memory", "512MiB"}, {"limits.cpu", "1"}}, {}};
  auto one = use_of("p", rules, container, small);
  REQUIRE(one);
  auto sum = *one;
  CHECK(check_limits("p", rules, sum));
  sum += *one;
  CHECK(check_limits("p", rules, sum)); // exactly full is not over
  sum += *one;
  CHECK_FALSE(check_limits("p", rules, sum));
  CHECK_FALSE(use_of("p", rules, container, {{{"limits.memory", "50%"}, {"limits.cpu", "1"}}, {}}));
  CHECK_FALSE(use_of("p", rules, container, {{{"limits.memory", "1MiB"}, {"limits.cpu", "0-1"}}, {}}));
  CHECK_FALSE(use_of("p", rules, container, {}));
  CHECK(use_of("p", {{"limits.instances", "1"}}, container, {}));
  CHECK(is_limited(rules));
  CHECK_FALSE(is_limited({{"restricted", "true"}}));
}
