#include "net/links.hpp"
#include "net/nic.hpp"
#include "net/nic_rules.hpp"
#include "net/proxy_address.hpp"
#include "net/rates.hpp"
#include "tests/net/playground.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::test;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string shown(const std::vector<std::string>& command, pid_t within = 0) { return run(command, within).output; }

nic_rules strict_card() {
  nic_rules card{"trnicv0", "00:16:3e:00:00:01"};
  card.ipv4_filtering = card.ipv6_filtering = true;
  card.ipv4 = "10.0.0.2";
  card.ipv6 = "fd00::2";
  card.egress = 8'000'000;
  card.priority = 5;
  return card;
}

// A frame with an 802.1Q tag, from the card eth0 in the network namespace of `from`. It is there at return.
void send_tagged(pid_t from) {
  process sender{[from] {
    unique_fd space{open(("/proc/" + std::to_string(from) + "/ns/net").c_str(), O_RDONLY)};
    if (setns(space.get(), CLONE_NEWNET) != 0) _exit(1);
    unsigned char frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 0,
                               0,    0x33, 0x81, 0,    0,    5,    8, 0,    0x45};
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(if_nametoindex("eth0"));
    unique_fd raw{socket(AF_PACKET, SOCK_RAW, 0)};
    auto sent = sendto(raw.get(), frame, sizeof frame, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
    _exit(sent == sizeof frame ? 0 : 1);
  }};
  CHECK(eventually([&] { return !sender.running(); }));
}

} // namespace

TEST_CASE("rates are whole numbers with LXD's units") {
  CHECK(parse_bits("10Mbit") == 10'000'000u);
  CHECK(parse_bits("1Kibit") == 1024u);
  CHECK(parse_bits("500") == 500u);
  for (auto bad : {"", "Mbit", "-1Mbit", "0", "1.5Mbit", "10 Mbit", "10mbit", "99999999Tbit", "10Mbit "})
    CHECK_FALSE(parse_bits(bad));
}

TEST_CASE("addresses of proxies") {
  auto range = parse_endpoint("tcp:0.0.0.0:80,90-92");
  REQUIRE(range);
  CHECK(range->ports == std::vector<uint16_t>{80, 90, 91, 92});
  CHECK(parse_endpoint("udp:[::1]:53")->host == "::1");
  CHECK(parse_endpoint("unix:@name")->what == proxy_address::kind::unix_abstract);
  for (auto bad : {"", "tcp:", "tcp:1.2.3.4", "tcp:1.2.3.4:", "tcp:1.2.3.4:0", "tcp:1.2.3.4:70000", "tcp:1.2.3.4:5-4",
                   "tcp:host:80", "tcp:::1:80", "icmp:1.2.3.4:1", "unix:", "unix:relative", "unix:/a\nb",
                   "tcp:1.2.3.4:1;id", "tcp:0.0.0.0:1-2000"})
    CHECK_FALSE(parse_endpoint(bad));
}

TEST_CASE("the rules of a card are one transaction, which nft takes, and which leaves nothing") {
  enter_own_network();
  nat_rule nat{*parse_endpoint("tcp:192.0.2.1:80-81"), *parse_endpoint("tcp:10.0.0.2:8080-8081")};
  nat_rule nat6{*parse_endpoint("udp:[2001:db8::1]:53"), *parse_endpoint("udp:[fd00::2]:53")};
  REQUIRE(apply_rules("trnic-test", {strict_card()}, {nat, nat6}));
  auto text = shown({"nft", "list", "ruleset"});
  for (auto part : {"table bridge trnic-test", "ether saddr != 00:16:3e:00:00:01 drop", "ip saddr != 10.0.0.2 drop",
                    "limit rate over", "dport 80 dnat ip to 10.0.0.2:8080", "dport 81 dnat ip to 10.0.0.2:8081",
                    "fe80::216:3eff:fe00:1"})
    CHECK(has(text, part));
  REQUIRE(apply_rules("trnic-test", {strict_card()}, {}));
  CHECK_FALSE(has(shown({"nft", "list", "ruleset"}), "dnat"));
  REQUIRE(apply_rules("trnic-test", {}, {}));
  CHECK_FALSE(has(shown({"nft", "list", "ruleset"}), "trnic-test"));
}

TEST_CASE("who is held to an address does not get out with a tag before it") {
  enter_own_network();
  ip("link add trnicb4 type bridge");
  ip("link set trnicb4 up");
  guest sender{"trnicb4", "trnicv3", "00:16:3e:00:00:33"};
  // Who stands behind the rules counts what has passed them.
  REQUIRE(run({"nft", "add table bridge seen; add chain bridge seen c { type filter hook prerouting priority 0 ; }; "
                      "add rule bridge seen c iifname trnicv3 ether type 0x8100 counter"})
              .code == 0);
  auto passed = [&] {
    auto before = shown({"nft", "list", "table", "bridge", "seen"});
    send_tagged(sender.pid());
    return shown({"nft", "list", "table", "bridge", "seen"}) != before;
  };
  CHECK(passed());
  nic_rules held{"trnicv3", "00:16:3e:00:00:33"};
  for (bool v6 : {false, true}) {
    held.ipv4_filtering = !v6;
    held.ipv6_filtering = v6;
    REQUIRE(apply_rules("trnic-test", {held}, {}));
    CHECK_FALSE(passed());
  }
  REQUIRE(apply_rules("trnic-test", {}, {}));
  CHECK(run({"nft", "delete", "table", "bridge", "seen"}).code == 0);
  ip("link delete trnicb4");
}

TEST_CASE("the rules of an instance bear its whole name") {
  enter_own_network();
  auto table = "troupe-12345678-a.b-" + std::string(62, 'p') + "_" + std::string(63, 'i');
  REQUIRE(apply_rules(table, {strict_card()}, {}));
  CHECK(has(shown({"nft", "list", "ruleset"}), "table bridge " + table));
  REQUIRE(apply_rules(table, {}, {}));
  CHECK_FALSE(has(shown({"nft", "list", "ruleset"}), table));
}

TEST_CASE("rules are made of checked words only") {
  auto card = strict_card();
  card.host_name = "x\" drop; add table ip evil";
  CHECK_FALSE(rules_text("trnic-test", {card}, {}));
  card = strict_card();
  card.ipv4 = "1.2.3.4 drop";
  CHECK_FALSE(rules_text("trnic-test", {card}, {}));
  CHECK_FALSE(rules_text("a b", {}, {}));
}

TEST_CASE("a card that could not be made takes nothing of others away") {
  enter_own_network();
  ip("link add trnicb5 type bridge");
  guest victim{"trnicb5", "trnicv5", "00:16:3e:00:00:55"}, other{"trnicb5", "trnicv6", "00:16:3e:00:00:56"};
  REQUIRE(mark_link("trnicv5", "troupe-test-victim.eth0"));
  nic_link card;
  card.parent = "trnicb5";
  card.name = "lan8";
  card.hwaddr = "00:16:3e:00:00:57";
  card.mark = "troupe-test-other.eth1";
  for (auto name : {"trnicb5", "trnicv5"}) {
    INFO(name);
    card.host_name = name;
    CHECK_FALSE(plug_nic(card, other.pid()));
    CHECK(unplug_nic(card, other.pid()));
    CHECK_FALSE(claim_nic(card));
    CHECK(get_link(name));
  }
  ip("link delete trnicb5");
}

TEST_CASE("a card's routes leave those of the host alone") {
  enter_own_network();
  ip("link add trnicb6 type bridge");
  ip("link set trnicb6 up");
  ip("address add 203.0.113.1/25 dev trnicb6");
  ip("address add fd00:6::1/64 dev trnicb6");
  ip("route add 198.51.100.0/24 dev trnicb6");
  guest other{"trnicb6", "trnicv7", "00:16:3e:00:00:77"};
  nic_link card;
  card.parent = "trnicb6";
  card.host_name = "trnicv7";
  auto before = shown({"ip", "route"}), before6 = shown({"ip", "-6", "route"});
  for (auto route : {"0.0.0.0/0", "::/0", "203.0.113.0/25", "203.0.113.64/26", "203.0.113.0/24", "fd00:6::/64",
                     "127.0.0.0/16", "198.51.100.0/24"}) {
    INFO(route);
    card.routes = {route};
    CHECK_FALSE(settle_nic(card));
    unsettle_nic(card);
    CHECK(shown({"ip", "route"}) == before);
    CHECK(shown({"ip", "-6", "route"}) == before6);
  }
  ip("link delete trnicb6");
}

TEST_CASE("who renames a card inside gives back that card, and no other") {
  enter_own_network();
  ip("link add trnicb7 type bridge");
  guest other{"trnicb7", "trnicv8", "00:16:3e:00:00:88"};
  REQUIRE(mark_link("trnicv8", "troupe-test.eth0"));
  ip("link add trnicp2 type veth peer name trnicp3");
  ip("link add trnicm0 type veth peer name trnicm1");
  auto index_of = [](const char* name) { return get_link(name) ? get_link(name)->peer_index : -1; };
  auto peer = index_of("trnicp2");
  for (auto [what, parent] :
       {std::pair{nic_link::kind::physical, "trnicp2"}, std::pair{nic_link::kind::macvlan, "trnicm0"}}) {
    INFO(parent);
    nic_link card;
    card.what = what;
    card.parent = parent;
    card.name = "lan9";
    REQUIRE(plug_nic(card, other.pid()));
    ip("link set lan9 down", other.pid());
    ip("link set lan9 name mine", other.pid());
    ip("link add lan9 type veth peer name made", other.pid());
    REQUIRE(unplug_nic(card, other.pid()));
    CHECK(other.run({"ip", "link", "show", "mine"}).code != 0);
    CHECK(other.run({"ip", "link", "show", "lan9"}).code == 0);
    CHECK(other.run({"ip", "link", "show", "eth0"}).code == 0);
    ip("link delete lan9", other.pid());
  }
  CHECK(index_of("trnicp2") == peer);
  // What is tied to neither hardware nor the host could have been made inside.
  guest third{"trnicb7", "trnicva", "00:16:3e:00:00:8a"};
  ip("link add trnicp5 type veth peer name far netns " + std::to_string(third.pid()));
  nic_link card;
  card.what = nic_link::kind::physical;
  card.parent = "trnicp5";
  card.name = "lan9";
  REQUIRE(plug_nic(card, other.pid()));
  CHECK(unplug_nic(card, other.pid()).error().code == fault::wrong_state);
  CHECK_FALSE(get_link("trnicp5"));
  ip("link delete trnicp2");
  ip("link delete trnicm0");
  ip("link delete trnicb7");
}

TEST_CASE("a card is made inside, shaped, routed to, and gone when it is taken out") {
  enter_own_network();
  ip("link add trnicb0 type bridge");
  ip("link set trnicb0 up");
  guest other{"trnicb0", "trnicv9", "00:16:3e:00:00:99"};
  nic_link card;
  card.parent = "trnicb0";
  card.host_name = "trnicv0";
  card.mark = "troupe-test.eth7";
  card.name = "lan7";
  card.hwaddr = "00:16:3e:00:00:07";
  card.mtu = 1400;
  card.ingress = 10'000'000;
  card.routes = {"192.0.2.0/24"};
  REQUIRE(plug_nic(card, other.pid()));
  REQUIRE(settle_nic(card));
  REQUIRE(settle_nic(card)); // as often as one likes
  CHECK(has(shown({"ip", "link", "show", "lan7"}, other.pid()), "mtu 1400"));
  CHECK(has(shown({"ip", "link", "show", "lan7"}, other.pid()), "00:16:3e:00:00:07"));
  CHECK(has(shown({"tc", "qdisc", "show", "dev", "trnicv0"}), "rate 10Mbit"));
  CHECK(has(shown({"ip", "route"}), "192.0.2.0/24 dev trnicb0"));
  CHECK_FALSE(plug_nic(card, other.pid())); // the names are taken
  unsettle_nic(card);
  CHECK_FALSE(has(shown({"ip", "route"}), "192.0.2.0/24"));
  REQUIRE(unplug_nic(card, other.pid()));
  REQUIRE(unplug_nic(card, other.pid()));
  CHECK_FALSE(get_link("trnicv0"));

  nic_link away;
  away.what = nic_link::kind::physical;
  away.parent = "trnicp0";
  away.name = "phys7";
  ip("link add trnicp0 type veth peer name trnicp1");
  REQUIRE(plug_nic(away, other.pid()));
  CHECK_FALSE(get_link("trnicp0"));
  REQUIRE(unplug_nic(away, other.pid()));
  CHECK(get_link("trnicp0"));
  REQUIRE(unplug_nic(away, other.pid()));
  ip("link delete trnicp0");
  ip("link delete trnicb0");
}
