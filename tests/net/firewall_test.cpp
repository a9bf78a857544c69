#include "net/bridge.hpp"
#include "tests/net/playground.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

using namespace troupe;
using namespace troupe::test;

namespace {

const std::string table = "trn" + std::to_string(getpid());

bridge_plan plan_of(const std::string& name, const std::string& third, config_map more = {}) {
  more.try_emplace("ipv4.address", "10.190." + third + ".1/24");
  more.try_emplace("ipv6.address", "fd42:190:" + third + "::1/64");
  more.try_emplace("ipv4.nat", "true");
  return plan_bridge(name, more).value();
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct clean_table {
  clean_table() { enter_own_network(); }
  ~clean_table() { CHECK(apply_firewall(table, {})); }
};

} // namespace

TEST_CASE("the ruleset holds NAT, services and forwarding of every bridge") {
  clean_table cleaner;
  REQUIRE(apply_firewall(table, {plan_of("trnfw0", "20"), plan_of("trnfw1", "21", {{"ipv4.nat", "false"}})}));
  auto text = ruleset();
  CHECK(has(text, "table inet " + table));
  CHECK(has(text, "ip saddr 10.190.20.0/24 ip daddr != 10.190.20.0/24 masquerade"));
  CHECK_FALSE(has(text, "saddr 10.190.21.0/24"));
  CHECK_FALSE(has(text, "ip6 saddr"));
  for (auto* name : {"trnfw0", "trnfw1"}) {
    CHECK(has(text, std::string{"iifname \""} + name + "\" meta nfproto ipv4 udp dport 67 accept"));
    CHECK(has(text, std::string{"iifname \""} + name + "\" meta nfproto ipv6 udp dport 547 accept"));
    CHECK(has(text, std::string{"iifname \""} + name + "\" meta nfproto ipv4 tcp dport 53 accept"));
    CHECK(has(text, std::string{"oifname \""} + name + "\" meta nfproto ipv6 accept"));
  }
}

TEST_CASE("a new ruleset replaces the old one, an equal one does nothing, none removes the table") {
  clean_table cleaner;
  auto first = plan_of("trnfw0", "20"), second = plan_of("trnfw1", "21");
  REQUIRE(apply_firewall(table, {first, second}));
  listener changes{listener::of::firewall};
  REQUIRE(apply_firewall(table, {first, second}));
  CHECK(changes.count() == 0);
  REQUIRE(apply_firewall(table, {second}));
  CHECK(changes.count() > 0);
  auto text = ruleset();
  CHECK_FALSE(has(text, "trnfw0"));
  CHECK(has(text, "trnfw1"));
  REQUIRE(apply_firewall(table, {}));
  CHECK_FALSE(has(ruleset(), table));
  CHECK(apply_firewall(table, {}));
}

TEST_CASE("tables of two daemons do not touch each other") {
  clean_table cleaner;
  REQUIRE(apply_firewall(table, {plan_of("trnfw0", "20")}));
  REQUIRE(apply_firewall(table + "-b", {plan_of("trnfw1", "21")}));
  REQUIRE(apply_firewall(table, {}));
  CHECK(has(ruleset(), "trnfw1"));
  REQUIRE(apply_firewall(table + "-b", {}));
  CHECK_FALSE(has(ruleset(), "trnfw"));
}

TEST_CASE("switches take their rules away") {
  auto text = firewall_text(
      table,
      {plan_of("trnfw0", "20",
               {{"ipv4.firewall", "false"}, {"ipv6.routing", "false"}, {"ipv6.dhcp", "false"}, {"dns.mode", "none"}})});
  REQUIRE(text);
  CHECK_FALSE(has(*text, "ipv4"));
  CHECK(has(*text, "masquerade")); // NAT is its own switch
  CHECK(has(*text, "iifname \"trnfw0\" meta nfproto ipv6 reject"));
  CHECK_FALSE(has(*text, "dport"));
}

TEST_CASE("names that are no names do not become rules") {
  auto plan = plan_of("trnfw0", "20");
  plan.name = "a\" accept; x";
  CHECK(firewall_text(table, {plan}).error().code == fault::invalid);
  CHECK(firewall_text("a; flush ruleset", {}).error().code == fault::invalid);
  CHECK(firewall_text("", {}).error().code == fault::invalid);
  auto other = plan_of("trnfw0", "20");
  other.ipv4 = "10.0.0.1/24 accept";
  CHECK(firewall_text(table, {other}).error().code == fault::invalid);
}

TEST_CASE("threads may apply at the same time") {
  clean_table cleaner;
  auto one = plan_of("trnfw0", "20"), two = plan_of("trnfw1", "21");
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 4; ++i)
        if (!apply_firewall(table, {t % 2 ? one : two})) ++failures;
    });
  for (auto& thread : threads) thread.join();
  CHECK(failures == 0);
  auto text = ruleset();
  CHECK(has(text, "trnfw0") != has(text, "trnfw1"));
}

TEST_CASE("an instance reaches another network through NAT") {
  clean_table cleaner;
  auto plan = plan_of("trnnat", "22");
  REQUIRE(apply_bridge(plan));
  REQUIRE(apply_firewall(table, {plan}));
  { // The far side has no route back to the instance's subnet.
    ip("link add trnfar type bridge");
    ip("addr add 10.190.33.1/24 dev trnfar");
    ip("link set trnfar up");
    guest far{"trnfar", "trnfar0", "00:16:3e:00:33:02"}, instance{"trnnat", "trnnat0", "00:16:3e:00:22:02"};
    ip("addr add 10.190.33.2/24 dev eth0", far.pid());
    ip("addr add 10.190.22.2/24 dev eth0", instance.pid());
    ip("route add default via 10.190.22.1", instance.pid());
    std::vector<std::string> ping{"busybox", "ping", "-c", "1", "-W", "5", "10.190.33.2"};
    CHECK(instance.run(ping).code == 0);
    plan.ipv4_nat = false;
    REQUIRE(apply_firewall(table, {plan}));
    ping[5] = "1";
    CHECK(instance.run(ping).code != 0);
    plan.ipv4_nat = true;
    plan.ipv4_routing = false;
    REQUIRE(apply_firewall(table, {plan}));
    CHECK(instance.run(ping).code != 0);
  }
  run({"ip", "link", "del", "trnfar"});
  CHECK(remove_bridge("trnnat"));
}
