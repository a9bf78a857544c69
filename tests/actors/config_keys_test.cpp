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

constexpr std::nullopt_t fine = std::nullopt;

} // namespace

TEST_CASE("The table of keys is sorted, without doubles and explained") {
  auto keys = instance_keys();
  CHECK(std::is_sorted(keys.begin(), keys.end(), [](auto& a, auto& b) { return a.key < b.key; }));
  for (auto& row : keys) {
    CHECK_FALSE(row.meaning.empty());
    if (!row.refused.empty()) continue;
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
  CHECK(config("nvidia.runtime", "true") == fault::unsupported);
  CHECK(config("nvidia.runtime", "") == fine); // unset
  CHECK(config("raw.qemu.conf", "x") == fault::unsupported);
  CHECK(check_instance_config({{"raw.qemu", "x"}}).error().message ==
        "Config key \"raw.qemu\" is not supported: it is for virtual machines, and not there yet");
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
           {"limits.memory.enforce", {"hard", "soft"}, {"maybe", "Hard", "hard soft"}},
           {"limits.cpu.priority", {"0", "9", "10"}, {"11", "-1", "007"}},
           {"boot.autostart.priority", {"-5", "0", "100"}, {"--5", "1.5", "99999999999"}},
           {"limits.kernel.nofile", {"1024", "1024:4096", "unlimited", "1:unlimited"}, {"a", "1:", ":1", "1:2:3"}},
           {"linux.kernel_modules", {"ip_tables,overlay", "nf-nat"}, {"a b", "a;b", "-r", "../x", "a,,b"}},
           {"linux.sysctl.net.ipv4.ip_forward", {"1"}, {"1\n2"}},
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

TEST_CASE("Server config takes user keys, names what is not built, and refuses typos") {
  CHECK(refused(check_server_config({})) == fine);
  CHECK(refused(check_server_config({{"user.a", "1"}})) == fine);
  CHECK(refused(check_server_config({{"user.", "1"}})) == fault::invalid);
  CHECK(refused(check_server_config({{"core.bgp_address", ":179"}})) == fault::unsupported);
  CHECK(refused(check_server_config({{"corn.flakes", "1"}})) == fault::invalid);
  CHECK(refused(check_server_config({{"user.a", "\x01"}})) == fault::invalid);
}

TEST_CASE("every key is found as its own row, also in a family") {
  for (auto& row : instance_keys()) {
    auto key = std::string{row.key};
    if (key.ends_with('*')) key.replace(key.size() - 1, 1, key.ends_with(".*") ? "x.y" : "");
    INFO(key);
    CHECK(find_instance_key(key) == &row);
  }
  for (auto unknown :
       {"", "a", "limits", "limits.", "limits.cpu.", "limits.kernel.", "user.", "zzz.x", "boot.autostarts", "security"})
    CHECK(find_instance_key(unknown) == nullptr);
}
