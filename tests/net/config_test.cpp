#include "net/bridge.hpp"
#include "net/bridge_keys.hpp"
#include "net/cidr.hpp"
#include "tests/net/playground.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace troupe;
using namespace troupe::test;

namespace {

fault fault_of(const config_map& config) {
  auto ok = check_bridge_config(config);
  REQUIRE_FALSE(ok);
  CHECK(ok.error().message.find_first_of("\n\t") == std::string::npos);
  return ok.error().code;
}

cidr v4(const std::string& text) { return parse_cidr(text, AF_INET).value(); }

} // namespace

TEST_CASE("an address keeps its host bits and knows its subnet") {
  auto value = v4("10.1.2.3/23");
  CHECK(cidr_text(value) == "10.1.2.3/23");
  CHECK(cidr_text(network_of(value)) == "10.1.2.0/23");
  CHECK(ip_text(nth_address(value, 2)) == "10.1.2.2");
  CHECK(ip_text(nth_address(value, -1)) == "10.1.3.255");
  CHECK(ip_text(nth_address(value, -2)) == "10.1.3.254");
  auto v6 = parse_cidr("fd42:1::1/64", AF_INET6).value();
  CHECK(ip_text(nth_address(v6, 300)) == "fd42:1::12c");
  CHECK(ip_text(nth_address(v6, -1)) == "fd42:1::ffff:ffff:ffff:ffff");
}

TEST_CASE("subnets overlap when one holds the other, and never across families") {
  CHECK(overlap(v4("10.0.0.0/8"), v4("10.200.3.1/24")));
  CHECK(overlap(v4("10.200.3.1/24"), v4("10.0.0.0/8")));
  CHECK_FALSE(overlap(v4("10.1.0.0/24"), v4("10.1.1.0/24")));
  CHECK(overlap(v4("0.0.0.0/0"), v4("10.1.1.0/24")));
  CHECK_FALSE(overlap(v4("0.0.0.0/0"), parse_cidr("::/0", AF_INET6).value()));
}

TEST_CASE("malformed addresses do not parse") {
  for (auto* text : {"", "/", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/+8", "10.0.0.1/8x",
                     " 10.0.0.1/8", "10.0.0/8", "010.0.0.1/8", "::1/129", "fe80::1%eth0/64", "10.0.0.1/99999999999"})
    CHECK_FALSE(parse_cidr(text));
  CHECK_FALSE(parse_ip(std::string_view{"10.0.0.1\0", 9}));
  CHECK_FALSE(parse_ip(std::string(4000, '1')));
}

TEST_CASE("the key table names every key once and its defaults are valid values") {
  std::set<std::string_view> names;
  for (auto& row : bridge_keys) {
    CAPTURE(row.name);
    CHECK(names.insert(row.name).second);
    CHECK_FALSE(row.meaning.empty());
    CHECK_FALSE(describe(row.kind).empty());
    CHECK(check_bridge_config({{std::string{row.name}, std::string{row.fallback}}}));
  }
}

TEST_CASE("a full config is accepted") {
  CHECK(check_bridge_config({{"bridge.hwaddr", "00:16:3E:aa:bb:0c"},
                             {"bridge.mtu", "9000"},
                             {"dns.domain", "my.lab"},
                             {"dns.mode", "dynamic"},
                             {"dns.search", "my.lab, other.lab"},
                             {"ipv4.address", "10.190.1.1/24"},
                             {"ipv4.dhcp", "TRUE"},
                             {"ipv4.dhcp.expiry", "30m"},
                             {"ipv4.dhcp.gateway", "10.190.1.9"},
                             {"ipv4.dhcp.ranges", "10.190.1.50-10.190.1.60,10.190.1.70-10.190.1.80"},
                             {"ipv4.nat", "yes"},
                             {"ipv6.address", "fd42:190::1/64"},
                             {"ipv6.dhcp.stateful", "true"},
                             {"ipv6.dhcp.ranges", "fd42:190::50-fd42:190::60"},
                             {"ipv6.nat", ""},
                             {"user.anything", "free, text = fine"}}));
}

TEST_CASE("unknown keys are invalid, documented ones we lack are unsupported") {
  CHECK(fault_of({{"ipv4.adress", "auto"}}) == fault::invalid);
  CHECK(fault_of({{"user.", "x"}}) == fault::invalid);
  CHECK(fault_of({{"", "x"}}) == fault::invalid);
  CHECK(fault_of({{"evil\nkey", "x"}}) == fault::invalid);
  CHECK(fault_of({{"user.a\nb", "x"}}) == fault::invalid);
  for (auto* key : {"raw.dnsmasq", "bridge.driver", "ipv4.nat.address", "tunnel.a.protocol", "bgp.peers.x.address",
                    "security.acls", "security.acls.default.ingress.action", "ipv4.routes", "fan.type"})
    CHECK(fault_of({{key, "x"}}) == fault::unsupported);
  CHECK(check_bridge_config({{"raw.dnsmasq", ""}}).error().message ==
        "Network key \"raw.dnsmasq\" is not supported yet");
}

TEST_CASE("values that could smuggle something into files or arguments are refused") {
  struct {
    const char *key, *value;
  } rows[] = {
      {"dns.domain", "lxd\nserver=/evil/1.2.3.4"},
      {"dns.domain", "a,b"},
      {"dns.domain", "-a"},
      {"dns.domain", "a..b"},
      {"dns.domain", "a b"},
      {"dns.domain", "a/b"},
      {"dns.search", "a,,b"},
      {"dns.search", "a b"},
      {"dns.mode", "Managed"},
      {"bridge.hwaddr", "01:16:3e:aa:bb:cc"},
      {"bridge.hwaddr", "00163eaabbcc"},
      {"bridge.hwaddr", "00:00:00:00:00:00"},
      {"bridge.mtu", "1279"},
      {"bridge.mtu", "1500 "},
      {"bridge.mtu", "99999999999999999999"},
      {"ipv4.dhcp.expiry", "1h,set:x"},
      {"ipv4.dhcp.expiry", "0"},
      {"ipv4.dhcp.expiry", "h"},
      {"ipv4.dhcp.expiry", "-1h"},
      {"ipv4.dhcp", "maybe"},
      {"ipv4.nat", "true\n"},
      {"ipv4.dhcp.gateway", "fd42::1"},
      {"ipv4.address", "10.190.1.0/24"},
      {"ipv4.address", "10.190.1.255/24"},
      {"ipv4.address", "10.190.1.1"},
      {"ipv4.address", "127.0.0.1/8"},
      {"ipv4.address", "224.0.0.1/24"},
      {"ipv4.address", "fd42::1/64"},
      {"ipv6.address", "fe80::1/64"},
      {"ipv6.address", "fd42::/64"},
      {"ipv6.address", "ff02::1/64"},
      {"ipv6.address", "10.0.0.1/24"},
      {"ipv4.dhcp.ranges", "10.190.1.2"},
      {"ipv4.dhcp.ranges", "10.190.1.9-10.190.1.2"},
      {"ipv4.dhcp.ranges", "10.190.1.2-10.190.1.9,static"},
  };
  for (auto& row : rows) {
    CAPTURE(row.key, row.value);
    CHECK(fault_of({{row.key, row.value}}) == fault::invalid);
  }
}

TEST_CASE("contradictions are refused") {
  config_map base{{"ipv4.address", "10.190.1.1/24"}, {"ipv6.address", "fd42:190::1/64"}};
  auto with = [&](const char* key, const char* value) {
    auto out = base;
    out[key] = value;
    return out;
  };
  CHECK(check_bridge_config(base));
  CHECK(fault_of(with("ipv4.dhcp.ranges", "10.190.2.2-10.190.2.9")) == fault::invalid);
  CHECK(fault_of(with("ipv4.dhcp.ranges", "10.190.1.2-10.190.2.9")) == fault::invalid);
  CHECK(fault_of(with("ipv6.dhcp.ranges", "fd42:191::2-fd42:191::9")) == fault::invalid);
  CHECK(fault_of(with("ipv4.dhcp.gateway", "10.190.2.1")) == fault::invalid);
  CHECK(fault_of(with("ipv4.address", "10.190.1.1/31")) == fault::invalid);
  CHECK(fault_of(with("ipv6.address", "fd42:190::1/80")) == fault::invalid);
  auto stateful = with("ipv6.address", "fd42:190::1/80");
  stateful["ipv6.dhcp.stateful"] = "true";
  CHECK(check_bridge_config(stateful));
}

TEST_CASE("a plan is typed and spelled in one way") {
  auto plan = plan_bridge("trnplan", {{"ipv4.address", "10.190.1.1/24"},
                                      {"ipv6.address", "FD42:0190:0::0001/64"},
                                      {"ipv4.dhcp.ranges", "10.190.1.5-10.190.1.6, 10.190.1.8-10.190.1.9"},
                                      {"ipv4.nat", "on"},
                                      {"bridge.mtu", "1400"}});
  REQUIRE(plan);
  CHECK(plan->ipv6 == "fd42:190::1/64");
  CHECK(plan->ipv4_ranges == "10.190.1.5-10.190.1.6,10.190.1.8-10.190.1.9");
  CHECK(plan->ipv4_nat);
  CHECK_FALSE(plan->ipv6_nat);
  CHECK(plan->ipv4_dhcp);
  CHECK(plan->mtu == 1400);
  CHECK(plan->domain == "lxd");
  CHECK(plan->hwaddr.substr(0, 9) == "00:16:3e:");
}

TEST_CASE("the derived MAC is stable and differs between bridges") {
  config_map config{{"ipv4.address", "10.190.1.1/24"}};
  auto one = plan_bridge("trnone", config)->hwaddr;
  CHECK(one == plan_bridge("trnone", config)->hwaddr);
  CHECK(one != plan_bridge("trntwo", config)->hwaddr);
  CHECK(one != plan_bridge("trnone", {{"ipv4.address", "10.190.2.1/24"}})->hwaddr);
  CHECK(plan_bridge("trnone", {{"bridge.hwaddr", "00:16:3E:00:00:AA"}})->hwaddr == "00:16:3e:00:00:aa");
}

TEST_CASE("a plan needs a valid name and addresses") {
  for (auto* name : {"", "a", "a/b", "..", "a b", "-ab", "sixteen-letters-", "a\nb", "a\"b"})
    CHECK(plan_bridge(name, {}).error().code == fault::invalid);
  CHECK(plan_bridge("trnauto", {{"ipv4.address", "auto"}}).error().code == fault::invalid);
  CHECK(plan_bridge("trnnone", {{"ipv4.address", "none"}})->ipv4.empty());
}

TEST_CASE("creation fills in free subnets and NAT, and keeps what was given") {
  enter_own_network();
  auto config = complete_bridge_config({}, {});
  REQUIRE(config);
  CHECK(config->at("ipv4.nat") == "true");
  CHECK(config->at("ipv6.nat") == "true");
  CHECK(parse_cidr(config->at("ipv4.address"), AF_INET)->prefix == 24);
  CHECK(config->at("ipv4.address").starts_with("10."));
  CHECK(config->at("ipv6.address").starts_with("fd42:"));
  CHECK(plan_bridge("trnfill", *config));

  auto given = complete_bridge_config({{"ipv4.address", "10.190.1.1/24"}, {"ipv6.address", "none"}}, {});
  REQUIRE(given);
  CHECK(given->at("ipv4.address") == "10.190.1.1/24");
  CHECK(given->count("ipv4.nat") == 0);
  CHECK(given->at("ipv6.address") == "none");
  CHECK(complete_bridge_config({{"ipv4.nat", "false"}}, {})->at("ipv4.nat") == "false");
}

TEST_CASE("an update only replaces auto") {
  enter_own_network();
  auto config = resolve_bridge_addresses({{"ipv6.address", "auto"}}, {});
  REQUIRE(config);
  CHECK(config->count("ipv4.address") == 0);
  CHECK(config->at("ipv6.address") != "auto");
  CHECK(config->count("ipv6.nat") == 0);
}

TEST_CASE("an automatic subnet overlaps no address, no route and no other network") {
  enter_own_network();
  ip("link add trnauto type bridge");
  ip("addr add 10.200.0.1/10 dev trnauto"); // 10.192.0.0 to 10.255.255.255
  ip("link set trnauto up");
  ip("route add 10.0.0.0/9 dev trnauto"); // 10.0.0.0 to 10.127.255.255
  for (int i = 0; i < 20; ++i) {
    auto picked = v4(complete_bridge_config({}, {"10.128.0.0/11"})->at("ipv4.address"));
    CAPTURE(cidr_text(picked));
    CHECK(picked.bytes[1] >= 160); // what is left
    CHECK(picked.bytes[1] <= 191);
  }
  auto full = complete_bridge_config({}, {"10.128.0.0/10"});
  CHECK(full.error().code == fault::in_use);
  // One hole is found.
  std::vector<std::string> all_but_one;
  for (int bit = 0; bit < 14; ++bit) { // siblings on the way down to 10.128.0.0/24
    uint32_t base = (10u << 24 | 128u << 16) | 1u << (21 - bit);
    all_but_one.push_back(ip_text({AF_INET, 32, {10, uint8_t(base >> 16), uint8_t(base >> 8), uint8_t(base)}}) + "/" +
                          std::to_string(11 + bit));
  }
  CHECK(complete_bridge_config({}, all_but_one)->at("ipv4.address") == "10.128.0.1/24");
  ip("link del trnauto");
}

TEST_CASE("a given subnet of another network is refused") {
  enter_own_network();
  CHECK(complete_bridge_config({{"ipv4.address", "10.190.1.1/24"}}, {"10.190.0.0/16"}).error().code == fault::in_use);
  CHECK(complete_bridge_config({{"ipv6.address", "fd42:190::1/64"}}, {"fd42:190::5/64"}).error().code == fault::in_use);
}

TEST_CASE("without IPv6 on the host an automatic address is none") {
  enter_own_network();
  write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
  auto config = complete_bridge_config({}, {});
  write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
  REQUIRE(config);
  CHECK(config->at("ipv6.address") == "none");
  CHECK(config->count("ipv6.nat") == 0);
}
