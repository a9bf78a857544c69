#include "actors/config_keys.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace troupe;

namespace {

std::optional<fault> refused(const outcome<void>& result) {
  return result ? std::nullopt : std::optional{result.error().code};
}
std::optional<fault> config(const std::string& key, const std::string& value) {
  return refused(check_instance_config({{key, value}}));
}
std::optional<fault> device(config_map keys) { return refused(check_devices({{"d", std::move(keys)}})); }

constexpr std::nullopt_t fine = std::nullopt;

} // namespace

TEST_CASE("The table of keys is sorted, without doubles and explained") {
  auto keys = instance_keys();
  CHECK(std::is_sorted(keys.begin(), keys.end(), [](auto& a, auto& b) { return a.key < b.key; }));
  for (auto& row : keys) {
    CHECK_FALSE(row.meaning.empty());
    CHECK(std::count_if(keys.begin(), keys.end(), [&](auto& other) { return other.key == row.key; }) == 1);
    if (!row.fallback.empty()) CHECK(config(std::string{row.key}, std::string{row.fallback}) == fine);
  }
}

TEST_CASE("Whatever reaches the host is not for tenants of a restricted project") {
  for (auto key : {"raw.lxc", "security.privileged", "security.nesting", "linux.sysctl.net.ipv4.ip_forward",
                   "security.idmap.size"})
    CHECK_FALSE(find_instance_key(key)->tenant_safe);
  CHECK(find_instance_key("limits.memory")->tenant_safe);
}

TEST_CASE("Keys with a free part need that part") {
  CHECK(find_instance_key("user.a"));
  CHECK(find_instance_key("user.a.b"));
  CHECK_FALSE(find_instance_key("user."));
  CHECK_FALSE(find_instance_key("user"));
  CHECK_FALSE(find_instance_key("limits.cpu.allowances"));
  CHECK_FALSE(find_instance_key(""));
}

TEST_CASE("A typo is invalid, what LXD knows and we do not build is unsupported") {
  CHECK(config("limit.cpu", "1") == fault::invalid);
  CHECK(config("", "1") == fault::invalid);
  CHECK(config("boot.autostart", "true") == fault::unsupported);
  CHECK(config("limits.disk.priority", "1") == fault::unsupported);
  CHECK(check_instance_config({{"limit.cpu", "1"}}).error().message == "Unknown configuration key: limit.cpu");
}

TEST_CASE("Values are judged by the type of their key") {
  struct row {
    const char* key;
    std::vector<const char*> good, bad;
  };
  for (auto& [key, good, bad] : std::vector<row>{
           {"security.nesting", {"true", "false", "1", "0", "yes", "no", "on", "off", ""}, {"maybe", "2", " true"}},
           {"limits.processes",
            {"0", "500", "18446744073709551615"},
            {"-1", "1.5", "1k", " 1", "18446744073709551616"}},
           {"limits.cpu", {"1", "0-3", "0,2,5-7"}, {"two", "1 2", "0x1"}},
           {"limits.cpu.allowance",
            {"50%", "100%", "25ms/100ms"},
            {"50", "%", "ms/ms", "25ms", "25ms/ms", "25/100", "-5%"}},
           {"limits.memory", {"512MB", "1GiB", "50%", "1048576"}, {"lots", "-1MB", "5 apples", "%"}},
           {"user.note", {"anything", "two\nlines", "ü€", "tab\t"}, {"\x01", "a\x1f", "cr\r"}},
       }) {
    for (auto value : good) {
      INFO(key << "=" << value);
      CHECK(config(key, value) == fine);
    }
    for (auto value : bad) {
      INFO(key << "=" << value);
      CHECK(config(key, value) == fault::invalid);
    }
  }
}

TEST_CASE("Keys themselves hold no blanks or control characters and are not endless") {
  for (auto key : {"user.a b", "user.a\nb", "environment.A\x7f", "user.a\tb"})
    CHECK(config(key, "x") == fault::invalid);
  CHECK(config("user." + std::string(250, 'x'), "x") == fine);
  CHECK(config("user." + std::string(251, 'x'), "x") == fault::invalid);
}

TEST_CASE("Devices of types we build are accepted with the keys we build") {
  CHECK(device({{"type", "none"}}) == fine);
  CHECK(device({{"type", "disk"}, {"path", "/"}, {"pool", "p"}}) == fine);
  CHECK(device({{"type", "nic"}, {"network", "br0"}, {"name", "eth0"}, {"hwaddr", "00:16:3e:00:00:01"}}) == fine);
  CHECK(device({{"type", "nic"}, {"nictype", "bridged"}, {"parent", "br0"}, {"user.note", "x"}}) == fine);
}

TEST_CASE("Devices that make no sense are refused") {
  CHECK(device({}) == fault::invalid);
  CHECK(device({{"type", "dsik"}}) == fault::invalid);
  CHECK(device({{"type", "gpu"}}) == fault::unsupported);
  CHECK(device({{"type", "disk"}, {"path", "/"}}) == fault::invalid);
  CHECK(device({{"type", "disk"}, {"path", "/mnt"}, {"pool", "p"}}) == fault::unsupported);
  CHECK(device({{"type", "disk"}, {"path", "/"}, {"pool", "p"}, {"source", "/etc"}}) == fault::unsupported);
  CHECK(device({{"type", "nic"}}) == fault::invalid);
  CHECK(device({{"type", "nic"}, {"network", "br0"}, {"parent", "br0"}}) == fault::invalid);
  CHECK(device({{"type", "nic"}, {"nictype", "macvlan"}, {"parent", "eth0"}}) == fault::unsupported);
  CHECK(device({{"type", "nic"}, {"nictype", "bridged"}}) == fault::invalid);
  CHECK(device({{"type", "nic"}, {"network", "br0"}, {"name", "a/b"}}) == fault::invalid);
  CHECK(device({{"type", "nic"}, {"network", "br0"}, {"name", "sixteen-letters-"}}) == fault::invalid);
  CHECK(device({{"type", "nic"}, {"network", "br0"}, {"hwaddr", "00:16:3e"}}) == fault::invalid);
  CHECK(device({{"type", "nic"}, {"network", "br0"}, {"mtu", "big"}}) == fault::invalid);
  CHECK(device({{"type", "nic"}, {"network", "a\x01"}}) == fault::invalid);
  CHECK(refused(check_devices({{"../d", {{"type", "none"}}}})) == fault::invalid);
}

TEST_CASE("A running instance refuses what only a stopped one can take") {
  expansion before{{{"limits.memory", "1GiB"}, {"user.a", "1"}}, {{"root", {{"type", "disk"}}}}};
  auto change = [&](auto edit) {
    auto after = before;
    edit(after);
    return refused(check_running_change(before, after));
  };
  CHECK(change([](auto&) {}) == fine);
  CHECK(change([](auto& after) { after.config["user.a"] = "2"; }) == fine);
  CHECK(change([](auto& after) { after.config["raw.lxc"] = "x"; }) == fine);
  CHECK(change([](auto& after) { after.config["limits.memory"] = "2GiB"; }) == fault::wrong_state);
  CHECK(change([](auto& after) { after.config.erase("limits.memory"); }) == fault::wrong_state);
  CHECK(change([](auto& after) { after.config["limits.cpu"] = "1"; }) == fault::wrong_state);
  CHECK(change([](auto& after) { after.devices.clear(); }) == fault::wrong_state);
  CHECK(change([](auto& after) { after.devices["eth0"] = {}; }) == fault::wrong_state);
}

TEST_CASE("Server config takes user keys, names what is not built, and refuses typos") {
  CHECK(refused(check_server_config({})) == fine);
  CHECK(refused(check_server_config({{"user.a", "1"}})) == fine);
  CHECK(refused(check_server_config({{"user.", "1"}})) == fault::invalid);
  CHECK(refused(check_server_config({{"core.bgp_address", ":179"}})) == fault::unsupported);
  CHECK(refused(check_server_config({{"corn.flakes", "1"}})) == fault::invalid);
  CHECK(refused(check_server_config({{"user.a", "\x01"}})) == fault::invalid);
}
