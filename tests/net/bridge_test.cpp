#include "net/bridge.hpp"
#include "net/links.hpp"
#include "tests/net/playground.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace troupe;
using namespace troupe::test;

namespace {

/// A bridge name of this process; the bridge is removed before and after.
struct named {
  std::string name = "trn" + std::to_string(getpid()) + "b";
  named() { enter_own_network(); }
  ~named() { run({"ip", "link", "del", name}); }
};

bridge_plan plan_of(const std::string& name, config_map more = {}) {
  more.try_emplace("ipv4.address", "10.190.7.1/24");
  more.try_emplace("ipv6.address", "fd42:190:7::1/64");
  return plan_bridge(name, more).value();
}

/// "inet 10.0.0.1/24 global" of all addresses but link-local ones, sorted.
std::vector<std::string> addresses_of(const link_facts& link) {
  std::vector<std::string> out;
  for (auto& a : link.addresses)
    if (a.scope != "link") out.push_back(a.family + " " + a.address + "/" + a.netmask);
  std::sort(out.begin(), out.end());
  return out;
}

std::string sysctl(const std::string& path) { return read_file("/proc/sys/net/" + path); }

} // namespace

TEST_CASE("applying a plan makes the bridge it says") {
  named bridge;
  auto plan = plan_of(bridge.name, {{"bridge.mtu", "1400"}});
  REQUIRE(apply_bridge(plan));
  auto link = get_link(bridge.name);
  REQUIRE(link);
  CHECK(link->kind == "bridge");
  CHECK(link->type == "broadcast");
  CHECK(link->up);
  CHECK(link->mtu == 1400);
  CHECK(link->hwaddr == plan.hwaddr);
  CHECK(addresses_of(*link) == std::vector<std::string>{"inet 10.190.7.1/24", "inet6 fd42:190:7::1/64"});
  CHECK(sysctl("ipv4/ip_forward") == "1\n");
  CHECK(sysctl("ipv6/conf/all/forwarding") == "1\n");
  for (auto* key : {"accept_dad", "autoconf", "accept_ra"})
    CHECK(sysctl("ipv6/conf/" + bridge.name + "/" + key) == "0\n");
  // Usable at once, without a port: what dnsmasq binds to.
  CHECK(run({"ip", "-6", "addr", "show", "dev", bridge.name, "tentative", "scope", "global"}).output.empty());
}

TEST_CASE("applying the same plan again changes nothing") {
  named bridge;
  auto plan = plan_of(bridge.name);
  REQUIRE(apply_bridge(plan));
  guest port{bridge.name, "trnport0", "00:16:3e:00:07:01"};
  REQUIRE(eventually([&] { return get_link("trnport0")->up; }));
  // The kernel tells of a link that came up later than it is up.
  for (auto& name : {bridge.name, std::string{"trnport0"}})
    REQUIRE(eventually([&] { return run({"cat", "/sys/class/net/" + name + "/operstate"}).output == "up\n"; }));
  listener changes{listener::of::links};
  REQUIRE(eventually([&] { return changes.count() == 0; }));
  REQUIRE(apply_bridge(plan));
  CHECK(changes.count() == 0);
  REQUIRE(apply_bridge(plan_of(bridge.name, {{"bridge.mtu", "1400"}})));
  CHECK(changes.count() > 0); // the listener does hear
}

TEST_CASE("another plan changes only what differs") {
  named bridge;
  REQUIRE(apply_bridge(plan_of(bridge.name)));
  int index = get_link(bridge.name)->index;
  // The same subnet: the kernel would delete the second address along with the first one.
  REQUIRE(
      apply_bridge(plan_of(bridge.name, {{"ipv4.address", "10.190.7.9/24"}, {"bridge.hwaddr", "00:16:3e:09:09:09"}})));
  auto link = get_link(bridge.name).value();
  CHECK(link.index == index);
  CHECK(link.hwaddr == "00:16:3e:09:09:09");
  CHECK(addresses_of(link) == std::vector<std::string>{"inet 10.190.7.9/24", "inet6 fd42:190:7::1/64"});
  REQUIRE(apply_bridge(plan_of(bridge.name, {{"ipv4.address", "10.190.7.9/16"}, {"ipv6.address", "none"}})));
  CHECK(addresses_of(*get_link(bridge.name)) == std::vector<std::string>{"inet 10.190.7.9/16"});
}

TEST_CASE("what others changed on the bridge is put right, link-local addresses stay") {
  named bridge;
  auto plan = plan_of(bridge.name);
  REQUIRE(apply_bridge(plan));
  ip("addr add 10.190.99.1/24 dev " + bridge.name);
  ip("addr add fd42:190:99::1/64 dev " + bridge.name);
  ip("addr add 169.254.7.7/16 scope link dev " + bridge.name);
  ip("addr add fe80::7/64 dev " + bridge.name + " nodad");
  ip("link set " + bridge.name + " mtu 1300 down");
  REQUIRE(apply_bridge(plan));
  auto link = get_link(bridge.name).value();
  CHECK(link.up);
  CHECK(link.mtu == 1500);
  CHECK(addresses_of(link) == std::vector<std::string>{"inet 10.190.7.1/24", "inet6 fd42:190:7::1/64"});
  auto has = [&](const char* address) {
    return std::any_of(link.addresses.begin(), link.addresses.end(), [&](auto& a) { return a.address == address; });
  };
  CHECK(has("169.254.7.7"));
}

TEST_CASE("a port changes neither the bridge's MTU nor its MAC") {
  named bridge;
  auto plan = plan_of(bridge.name);
  REQUIRE(apply_bridge(plan));
  ip("link add trnsmall mtu 1300 address 00:00:00:00:00:02 type veth peer name trnsmallp");
  ip("link set trnsmall master " + bridge.name + " up");
  auto link = get_link(bridge.name).value();
  ip("link del trnsmall");
  CHECK(link.mtu == 1500);
  CHECK(link.hwaddr == plan.hwaddr);
}

TEST_CASE("a link that is no bridge is neither changed nor removed") {
  named bridge;
  ip("link add " + bridge.name + " type veth peer name trnother");
  CHECK(apply_bridge(plan_of(bridge.name)).error().code == fault::in_use);
  CHECK(remove_bridge(bridge.name).error().code == fault::in_use);
  CHECK(get_link(bridge.name)->kind == "veth");
  CHECK(addresses_of(*get_link(bridge.name)).empty());
}

TEST_CASE("removing a bridge leaves nothing and may be repeated") {
  named bridge;
  REQUIRE(apply_bridge(plan_of(bridge.name)));
  REQUIRE(remove_bridge(bridge.name));
  CHECK(get_link(bridge.name).error().code == fault::not_found);
  CHECK(remove_bridge(bridge.name));
  CHECK(run({"ip", "route", "show", "10.190.7.0/24"}).output.empty());
}

TEST_CASE("malformed plans do not reach the kernel") {
  enter_own_network();
  bridge_plan plan;
  plan.name = "../evil";
  plan.hwaddr = "00:16:3e:00:00:01";
  CHECK(apply_bridge(plan).error().code == fault::invalid);
  CHECK(remove_bridge("a/b").error().code == fault::invalid);
  plan.name = "trnevil";
  plan.hwaddr = "junk";
  CHECK(apply_bridge(plan).error().code == fault::invalid);
  CHECK_FALSE(get_link("trnevil"));
}

TEST_CASE("a host that takes its route from router advertisements keeps doing so when it forwards") {
  named bridge;
  write_file("/proc/sys/net/ipv6/conf/all/forwarding", "0");
  ip("link add trnup type veth peer name trnup2");
  write_file("/proc/sys/net/ipv6/conf/trnup/accept_ra", "1");
  write_file("/proc/sys/net/ipv6/conf/trnup2/accept_ra", "0");
  REQUIRE(apply_bridge(plan_of(bridge.name)));
  CHECK(sysctl("ipv6/conf/trnup/accept_ra") == "2\n");
  CHECK(sysctl("ipv6/conf/trnup2/accept_ra") == "0\n");
  ip("link del trnup");
}

TEST_CASE("links of a process are those of its namespace, and the caller stays in its own") {
  named bridge;
  REQUIRE(apply_bridge(plan_of(bridge.name)));
  guest inner{bridge.name, "trnlink0", "00:16:3e:00:07:02"};
  ip("addr add 10.190.7.20/24 dev eth0", inner.pid());
  auto links = list_links_of(inner.pid());
  REQUIRE(links);
  REQUIRE(links->size() >= 2);
  auto find = [&](const char* name) {
    return *std::find_if(links->begin(), links->end(), [&](auto& link) { return link.name == name; });
  };
  auto lo = find("lo"), eth0 = find("eth0");
  CHECK(lo.type == "loopback");
  CHECK(lo.hwaddr.empty());
  CHECK(lo.addresses.at(0).address == "127.0.0.1");
  CHECK(lo.addresses.at(0).netmask == "8");
  CHECK(lo.addresses.at(0).scope == "local");
  CHECK(eth0.hwaddr == "00:16:3e:00:07:02");
  CHECK(eth0.kind == "veth");
  CHECK(eth0.type == "broadcast");
  CHECK(eth0.up);
  CHECK(eth0.peer.empty()); // in another namespace: its number there is what is known
  auto outer = get_link("trnlink0").value();
  CHECK(eth0.peer_index == outer.index);
  CHECK(outer.peer_index == eth0.index);
  CHECK(outer.master == bridge.name);
  CHECK(addresses_of(eth0) == std::vector<std::string>{"inet 10.190.7.20/24"});
  CHECK(inner.run({"busybox", "ping", "-c", "2", "-i", "0.2", "-W", "5", "10.190.7.1"}).code == 0);
  auto later = list_links_of(inner.pid()).value();
  auto counters = std::find_if(later.begin(), later.end(), [](auto& link) { return link.name == "eth0"; })->counters;
  CHECK(counters.tx_packets >= 2);
  CHECK(counters.rx_bytes >= 2 * 64);
  CHECK(get_link(bridge.name)); // still here
}

TEST_CASE("links of a process that is gone are an error") {
  enter_own_network();
  CHECK(list_links_of(4194304).error().code == fault::not_found);
}

TEST_CASE("a bridge tells its id, its settings and its ports") {
  named bridge;
  REQUIRE(apply_bridge(plan_of(bridge.name, {{"bridge.hwaddr", "00:16:3e:0a:0b:0c"}})));
  guest port{bridge.name, "trnport0", "00:16:3e:00:07:01"};
  auto facts = get_bridge(bridge.name);
  REQUIRE(facts);
  CHECK(facts->id == "8000.00163e0a0b0c");
  CHECK_FALSE(facts->stp);
  CHECK(facts->forward_delay == 1500);
  CHECK(facts->upper_devices == std::vector<std::string>{"trnport0"});
  CHECK(get_bridge("lo").error().code == fault::not_found);
  CHECK(get_bridge("../../x").error().code == fault::invalid);
}

TEST_CASE("veth ends in one namespace know each other, and are removed by name and mark") {
  enter_own_network();
  ip("link add trnend0 type veth peer name trnend1");
  CHECK(get_link("trnend0")->peer == "trnend1");
  CHECK(get_link("trnend1")->peer == "trnend0");
  CHECK_FALSE(get_link("trnend0")->up);
  REQUIRE(remove_link("trnend0", "mine")); // it bears no mark
  CHECK(get_link("trnend0"));
  REQUIRE(mark_link("trnend0", "mine"));
  for (auto mark : {"another's", ""}) {
    REQUIRE(remove_link("trnend0", mark));
    CHECK(get_link("trnend0"));
  }
  REQUIRE(remove_link("trnend0", "mine"));
  CHECK_FALSE(get_link("trnend1"));
  CHECK(remove_link("trnend0", "mine"));
}
