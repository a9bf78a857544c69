#include "actors/instance_kinds.hpp"

#include "actors/config_keys.hpp"

#include <catch2/catch.hpp>

using namespace troupe;
using enum schema::InstanceType;

namespace {

const device_map root{{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "p"}}}};

fault refusal(schema::InstanceType type, config_map config, const device_map& more = {}) {
  expansion effective{std::move(config), root};
  effective.devices.insert(more.begin(), more.end());
  auto good = check_kind(type, effective);
  return good ? fault{} : good.error().code;
}

} // namespace

TEST_CASE("each kind of instance has its own keys, and most are shared") {
  CHECK(refusal(CONTAINER, {{"limits.cpu", "2"}, {"security.nesting", "true"}}) == fault{});
  CHECK(refusal(VIRTUAL_MACHINE, {{"limits.cpu", "2"}, {"security.secureboot", "false"}}) == fault{});
  CHECK(refusal(CONTAINER, {{"security.secureboot", "false"}}) == fault::invalid);
  for (auto key : {"security.nesting", "raw.lxc", "limits.kernel.nofile", "limits.processes", "security.syscalls.deny"})
    CHECK(refusal(VIRTUAL_MACHINE, {{key, "1"}}) == fault::invalid);
  CHECK(refusal(VIRTUAL_MACHINE, {{"security.nesting", ""}}) == fault{}); // not set
}

TEST_CASE("what one kind alone has is in the table of all keys") {
  for (auto& row : instance_keys())
    if (auto kind = kind_with(row.key); !kind.empty()) CHECK((kind == "containers" || kind == "virtual machines"));
  CHECK(kind_with("limits.kernel.*") == "containers");
  CHECK(kind_with("security.secureboot") == "virtual machines");
  CHECK(kind_with("boot.autostart").empty());
}

TEST_CASE("devices of the two kinds") {
  auto disk = [](config_map more) {
    more.insert({"type", "disk"});
    return device_map{{"d", std::move(more)}};
  };
  CHECK(refusal(CONTAINER, {}, disk({{"source", "/x"}, {"path", "/y"}, {"shift", "true"}})) == fault{});
  CHECK(refusal(CONTAINER, {}, disk({{"source", "/x"}})) == fault::invalid);
  CHECK(refusal(CONTAINER, {}, disk({{"source", "/x"}, {"path", "/y"}, {"io.bus", "nvme"}})) == fault::invalid);
  CHECK(refusal(VIRTUAL_MACHINE, {}, disk({{"source", "/x"}, {"io.bus", "nvme"}})) == fault{});
  CHECK(refusal(VIRTUAL_MACHINE, {}, disk({{"source", "/x"}, {"shift", "true"}})) == fault::invalid);
  CHECK(refusal(VIRTUAL_MACHINE, {}, disk({{"source", "v"}, {"pool", "p"}, {"path", "/y"}})) == fault::unsupported);
  CHECK(refusal(VIRTUAL_MACHINE, {}, {{"p", {{"type", "proxy"}}}}) == fault::unsupported);
  CHECK(refusal(VIRTUAL_MACHINE, {}, {{"n", {{"type", "nic"}, {"nictype", "macvlan"}}}}) == fault::unsupported);
  CHECK(refusal(VIRTUAL_MACHINE, {}, {{"n", {{"type", "nic"}, {"network", "b"}}}}) == fault{});
}
