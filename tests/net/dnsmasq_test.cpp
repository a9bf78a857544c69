#include "net/bridge.hpp"
#include "net/dhcp.hpp"
#include "net/links.hpp"
#include "tests/net/playground.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <thread>

using namespace troupe;
using namespace troupe::test;

namespace {

/// A bridge with its firewall and a real dnsmasq, as the daemon would run them.
class served_bridge {
public:
  explicit served_bridge(config_map config) {
    enter_own_network();
    plan = plan_bridge("trn" + std::to_string(getpid()) + "d", config).value();
    REQUIRE(apply_bridge(plan));
    REQUIRE(apply_firewall(table, {plan}));
    // Leaves the host's resolver configuration alone: configures eth0 and nothing else.
    write_file(dir.path() + "/lease-script",
               "#!/usr/bin/env -S busybox sh\n"
               "[ \"$1\" = bound ] && busybox ip addr add \"$ip/$mask\" dev \"$interface\"\n"
               "[ -n \"$router\" ] && busybox ip route add default via \"$router\"\nexit 0\n",
               0755);
  }
  ~served_bridge() {
    dnsmasq.reset();
    CHECK(apply_firewall(table, {}));
    CHECK(remove_bridge(plan.name));
  }

  void start() {
    auto command = dnsmasq_command(plan, state);
    REQUIRE(command);
    dnsmasq = std::make_unique<process>(*command);
  }
  /// Gets an address by DHCP; the client sends `hostname`.
  void lease(const guest& of, const std::string& hostname) {
    auto result = of.run({"busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "20", "-T", "1", "-x",
                          "hostname:" + hostname, "-s", dir.path() + "/lease-script"});
    INFO(result.output);
    REQUIRE(dnsmasq->running());
    REQUIRE(result.code == 0);
  }
  std::string address_of(const std::string& hwaddr) const {
    auto leases = list_leases(state).value();
    for (auto& lease : leases)
      if (lease.hwaddr == hwaddr && lease.address.find(':') == std::string::npos) return lease.address;
    return {};
  }
  /// What `from` is told about a name.
  std::string resolve(const guest& from, const std::string& name) const {
    auto server = plan.ipv4.substr(0, plan.ipv4.find('/'));
    return from.run({"busybox", "nslookup", "-type=a", name, server}).output;
  }

  folder dir;
  std::string state = dir.path() + "/net", table = "trn" + std::to_string(getpid()) + "d";
  bridge_plan plan;
  std::unique_ptr<process> dnsmasq;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool has_global_v6(const guest& in, const std::string& prefix) {
  auto links = list_links_of(in.pid()).value();
  for (auto& link : links)
    for (auto& address : link.addresses)
      if (address.family == "inet6" && address.address.starts_with(prefix)) return true;
  return false;
}

/// The shortest DHCPv6 conversation there is: solicit with rapid commit, reply. True when an answer came.
bool solicit(const guest& in, const std::vector<uint8_t>& duid) {
  int fd = -1;
  std::thread{[&] { // a socket stays in the namespace it was made in
    unique_fd space{open(("/proc/" + std::to_string(in.pid()) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC)};
    if (setns(space.get(), CLONE_NEWNET) == 0) fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  }}
      .join();
  unique_fd owned{fd};
  REQUIRE(owned);
  auto links = list_links_of(in.pid()).value();
  auto eth0 = std::find_if(links.begin(), links.end(), [](auto& link) { return link.name == "eth0"; });
  sockaddr_in6 local{}, server{};
  local.sin6_family = server.sin6_family = AF_INET6;
  local.sin6_port = htons(546);
  server.sin6_port = htons(547);
  server.sin6_scope_id = static_cast<uint32_t>(eth0->index);
  inet_pton(AF_INET6, "ff02::1:2", &server.sin6_addr);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local) == 0);
  std::string packet("\1\1\2\3"
                     "\0\1\0",
                     7); // solicit; client id
  packet += static_cast<char>(duid.size());
  packet.append(duid.begin(), duid.end());
  packet += std::string("\0\16\0\0"
                        "\0\10\0\2\0\0",
                        10); // rapid commit, elapsed time
  packet += std::string("\0\3\0\14"
                        "\xde\xad\0\7"
                        "\0\0\0\0"
                        "\0\0\0\0",
                        16); // an address for 0xdead0007
  return eventually([&] {
    sendto(fd, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&server), sizeof server);
    pollfd wait{fd, POLLIN, 0};
    uint8_t answer[1500];
    return poll(&wait, 1, 300) == 1 && recv(fd, answer, sizeof answer, 0) > 0 && answer[0] == 7;
  });
}

const std::string mac1 = "00:16:3e:00:41:01", mac2 = "00:16:3e:00:41:02";

} // namespace

TEST_CASE("instances get leases and find each other by name, whatever they call themselves") {
  served_bridge net{{{"ipv4.address", "10.190.41.1/24"}, {"ipv6.address", "fd42:190:41::1/64"}}};
  REQUIRE(add_dhcp_host(net.state, {"c1.eth0", mac1, "c1", "", ""}));
  net.start();
  guest c1{net.plan.name, "trnd1", mac1}, c2{net.plan.name, "trnd2", mac2};
  net.lease(c1, "impostor");
  // Known only since dnsmasq runs: it takes notice by itself.
  REQUIRE(add_dhcp_host(net.state, {"c2.eth0", mac2, "c2", "10.190.41.77", ""}) == dhcp_notice::none);
  net.lease(c2, "c1");

  auto address = net.address_of(mac1);
  REQUIRE(address.starts_with("10.190.41."));
  CHECK(net.address_of(mac2) == "10.190.41.77");
  for (auto* name : {"c1", "c1.lxd"}) CHECK(has(net.resolve(c2, name), address));
  for (auto* name : {"c2", "c2.lxd"}) CHECK(has(net.resolve(c1, name), "10.190.41.77"));
  CHECK(has(net.resolve(c2, "_gateway.lxd"), "10.190.41.1"));
  CHECK_FALSE(has(net.resolve(c2, "impostor.lxd"), address));
  CHECK(c1.run({"busybox", "ping", "-c", "1", "-W", "5", "10.190.41.77"}).code == 0);
  CHECK(eventually([&] { return has_global_v6(c1, "fd42:190:41:"); }));

  // A new name of a known file needs the signal.
  REQUIRE(add_dhcp_host(net.state, {"c1.eth0", mac1, "moved", "", ""}) == dhcp_notice::sighup);
  net.dnsmasq->signal(SIGHUP);
  CHECK(eventually([&] { return has(net.resolve(c2, "moved.lxd"), address); }));
  CHECK(net.dnsmasq->running());

  // Nothing of a deleted instance stays.
  REQUIRE(release_lease(net.plan, net.state, mac1));
  CHECK(eventually([&] { return !has(read_file(net.state + "/dnsmasq.leases"), mac1); }));
  CHECK_FALSE(has(net.resolve(c2, "moved.lxd"), address));
  CHECK(has(read_file(net.state + "/dnsmasq.leases"), mac2));
}

TEST_CASE("leases and names survive a killed dnsmasq, and releases work without any port") {
  served_bridge net{{{"ipv4.address", "10.190.42.1/24"}, {"ipv6.address", "none"}}};
  REQUIRE(add_dhcp_host(net.state, {"c1.eth0", mac1, "c1", "", ""}));
  net.start();
  std::string address;
  {
    guest c1{net.plan.name, "trnd1", mac1};
    net.lease(c1, "x");
    address = net.address_of(mac1);
    net.dnsmasq->signal(SIGKILL);
    net.dnsmasq.reset();
    net.start();
    CHECK(eventually([&] { return has(net.resolve(c1, "c1.lxd"), address); }));
  }
  REQUIRE(release_lease(net.plan, net.state, mac1));
  CHECK(eventually([&] { return net.address_of(mac1).empty(); }));
}

TEST_CASE("names clients send are taken in dynamic mode only") {
  served_bridge net{{{"ipv4.address", "10.190.43.1/24"}, {"ipv6.address", "none"}, {"dns.mode", "dynamic"}}};
  REQUIRE(add_dhcp_host(net.state, {"ignore.eth0", mac2, "ignore", "", ""})); // a command, if dnsmasq were asked
  net.start();
  guest c1{net.plan.name, "trnd1", mac1}, c2{net.plan.name, "trnd2", mac2};
  net.lease(c1, "chosen");
  net.lease(c2, "other");
  CHECK(has(net.resolve(c1, "chosen.lxd"), net.address_of(mac1)));
  CHECK(has(net.resolve(c1, "ignore.lxd"), net.address_of(mac2)));
}

TEST_CASE("stateful DHCPv6 gives addresses and takes them back") {
  served_bridge net{{{"ipv4.address", "none"},
                     {"ipv6.address", "fd42:190:44::1/64"},
                     {"ipv6.dhcp.stateful", "true"},
                     {"ipv6.dhcp.ranges", "fd42:190:44::100-fd42:190:44::1ff"}}};
  REQUIRE(add_dhcp_host(net.state, {"c1.eth0", mac1, "c1", "", ""}));
  net.start();
  {
    guest c1{net.plan.name, "trnd1", mac1};
    auto tentative = [&] { return c1.run({"ip", "-6", "addr", "show", "dev", "eth0", "scope", "link"}).output; };
    REQUIRE(eventually([&] { return has(tentative(), "fe80") && !has(tentative(), "tentative"); }));
    REQUIRE(solicit(c1, {0, 3, 0, 1, 0x00, 0x16, 0x3e, 0x00, 0x41, 0x01}));
  }
  auto leases = list_leases(net.state).value();
  REQUIRE(leases.size() == 1);
  CHECK(leases[0].address.starts_with("fd42:190:44::1"));
  CHECK(leases[0].hwaddr == mac1);
  CHECK(leases[0].hostname == "c1");
  REQUIRE(release_lease(net.plan, net.state, mac1));
  CHECK(eventually([&] { return list_leases(net.state)->empty(); }));
}
