#include "net/dhcp.hpp"
#include "net/leases.hpp"
#include "net/links.hpp"
#include "tests/net/playground.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <sys/stat.h>

using namespace troupe;
using namespace troupe::test;

namespace {

bool has(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

mode_t mode_of(const std::string& path) {
  struct stat facts {};
  REQUIRE(stat(path.c_str(), &facts) == 0);
  return facts.st_mode & 07777;
}

bridge_plan plan_of(config_map more = {}) {
  more.try_emplace("ipv4.address", "10.190.40.1/24");
  more.try_emplace("ipv6.address", "fd42:190:40::1/64");
  return plan_bridge("trndhcp", more).value();
}

std::vector<std::string> files_in(const std::string& dir) {
  std::vector<std::string> out;
  for (auto& entry : std::filesystem::directory_iterator{dir}) out.push_back(entry.path().filename());
  std::sort(out.begin(), out.end());
  return out;
}

} // namespace

TEST_CASE("host files are written, left alone, changed and removed") {
  folder dir;
  auto at = dir.path() + "/net";
  dhcp_host host{"c1.eth0", "00:16:3E:00:00:01", "c1", "10.190.40.9", "fd42:190:40::9"};
  CHECK(add_dhcp_host(at, host) == dhcp_notice::none);
  CHECK(read_file(at + "/dnsmasq.hosts/c1.eth0") == "00:16:3e:00:00:01,10.190.40.9,[fd42:190:40::9],c1\n");
  CHECK(mode_of(at) == 0710);
  CHECK(mode_of(at + "/dnsmasq.hosts") == 0750);
  CHECK(mode_of(at + "/dnsmasq.hosts/c1.eth0") == 0640);
  auto before = std::filesystem::last_write_time(at + "/dnsmasq.hosts/c1.eth0");
  CHECK(add_dhcp_host(at, host) == dhcp_notice::none);
  CHECK(std::filesystem::last_write_time(at + "/dnsmasq.hosts/c1.eth0") == before);
  host.hostname = "renamed";
  CHECK(add_dhcp_host(at, host) == dhcp_notice::sighup);
  CHECK(list_dhcp_hosts(at)->at(0).hostname == "renamed");
  CHECK(remove_dhcp_host(at, "c1.eth0") == dhcp_notice::sighup);
  CHECK(remove_dhcp_host(at, "c1.eth0") == dhcp_notice::none);
  CHECK(list_dhcp_hosts(at)->empty());
}

TEST_CASE("a list gives back what was written and marks what is damaged") {
  folder dir;
  std::vector<dhcp_host> hosts{{"a.eth0", "00:16:3e:00:00:01", "a", "", ""},
                               {"b.eth0", "00:16:3e:00:00:02", "", "", ""},
                               {"c.eth0", "00:16:3e:00:00:03", "c", "10.190.40.7", ""},
                               {"d.eth0", "00:16:3e:00:00:04", "d", "", "fd42::7"}};
  for (auto& host : hosts) REQUIRE(add_dhcp_host(dir.path(), host));
  write_file(dir.path() + "/dnsmasq.hosts/cut", "00:16:3e:00:0");
  write_file(dir.path() + "/dnsmasq.hosts/.e.eth0", "unfinished");
  auto found = list_dhcp_hosts(dir.path());
  REQUIRE(found);
  REQUIRE(found->size() == 5);
  CHECK(found->at(4).key == "d.eth0");
  CHECK(found->at(3).key == "cut");
  CHECK(found->at(3).hwaddr.empty());
  found->erase(found->begin() + 3);
  for (size_t i = 0; i < hosts.size(); ++i) {
    CHECK(found->at(i).key == hosts[i].key);
    CHECK(found->at(i).hwaddr == hosts[i].hwaddr);
    CHECK(found->at(i).hostname == hosts[i].hostname);
    CHECK(found->at(i).ipv4 == hosts[i].ipv4);
    CHECK(found->at(i).ipv6 == hosts[i].ipv6);
  }
  CHECK(remove_dhcp_host(dir.path(), "e.eth0") == dhcp_notice::none);
  CHECK(files_in(dir.path() + "/dnsmasq.hosts") ==
        std::vector<std::string>{"a.eth0", "b.eth0", "c.eth0", "cut", "d.eth0"});
  CHECK(list_dhcp_hosts(dir.path() + "/nowhere")->empty());
}

TEST_CASE("hostile hosts are refused and write nothing") {
  folder dir;
  dhcp_host good{"c1.eth0", "00:16:3e:00:00:01", "c1", "", ""};
  auto refused = [&](auto change) {
    auto host = good;
    change(host);
    CHECK(add_dhcp_host(dir.path(), host).error().code == fault::invalid);
  };
  for (auto* key : {"", "..", "../x", "a/b", ".hidden", "a\nb", "a b"}) refused([&](auto& h) { h.key = key; });
  for (auto* mac : {"", "*", "00:16:3e:00:00:01,set:x", "id:*", "ff:ff:ff:ff:ff:ff"})
    refused([&](auto& h) { h.hwaddr = mac; });
  for (auto* name : {"a,ignore", "a\nb", "a b", "-a", "a.b", "12", "5h", "30m"})
    refused([&](auto& h) { h.hostname = name; });
  refused([&](auto& h) { h.ipv4 = "10.0.0.1,ignore"; });
  refused([&](auto& h) { h.ipv6 = "10.0.0.1"; });
  CHECK(remove_dhcp_host(dir.path(), "../x").error().code == fault::invalid);
  CHECK(files_in(dir.path()).empty());
}

TEST_CASE("names that are commands to dnsmasq are written as names") {
  folder dir;
  REQUIRE(add_dhcp_host(dir.path(), {"ignore.eth0", "00:16:3e:00:00:01", "ignore", "", ""}));
  CHECK(read_file(dir.path() + "/dnsmasq.hosts/ignore.eth0") == "00:16:3e:00:00:01,Ignore\n");
  CHECK(list_dhcp_hosts(dir.path())->at(0).hostname == "ignore");
  CHECK(parse_leases("1893456000 00:16:3e:00:00:01 10.190.40.5 Ignore *\n").rows.at(0).hostname == "ignore");
}

TEST_CASE("the command follows the plan and nothing else") {
  folder dir;
  auto at = dir.path() + "/net";
  auto command = dnsmasq_command(plan_of(), at);
  REQUIRE(command);
  CHECK(command->front().ends_with("/dnsmasq"));
  CHECK(has(*command, "--dhcp-range=10.190.40.2,10.190.40.254,1h"));
  CHECK(has(*command, "--dhcp-range=::,constructor:trndhcp,ra-stateless,ra-names"));
  CHECK(has(*command, "--dhcp-ignore-names"));
  CHECK(has(*command, "--conf-file=/dev/null"));
  CHECK(has(*command, "--domain=lxd"));
  CHECK(has(*command, "--local=/lxd/"));
  CHECK(*command == dnsmasq_command(plan_of(), at).value());
  CHECK(mode_of(at + "/dnsmasq.leases") == 0600);

  command = dnsmasq_command(plan_of({{"ipv4.dhcp.ranges", "10.190.40.5-10.190.40.9,10.190.40.20-10.190.40.30"},
                                     {"ipv4.dhcp.expiry", "infinite"},
                                     {"ipv4.dhcp.gateway", "10.190.40.3"},
                                     {"ipv6.dhcp.stateful", "true"},
                                     {"dns.mode", "dynamic"},
                                     {"dns.domain", "lab.test"},
                                     {"dns.search", "a.test,b.test"},
                                     {"bridge.mtu", "1400"}}),
                            at);
  CHECK(has(*command, "--dhcp-range=10.190.40.5,10.190.40.9,infinite"));
  CHECK(has(*command, "--dhcp-range=10.190.40.20,10.190.40.30,infinite"));
  CHECK(has(*command, "--dhcp-range=fd42:190:40::2,fd42:190:40:0:ffff:ffff:ffff:ffff,64,1h"));
  CHECK(has(*command, "--dhcp-option-force=option:router,10.190.40.3"));
  CHECK(has(*command, "--dhcp-option-force=option:mtu,1400"));
  CHECK(has(*command, "--dhcp-option-force=option:domain-search,a.test,b.test"));
  CHECK(has(*command, "--interface-name=_gateway.lab.test,trndhcp"));
  CHECK_FALSE(has(*command, "--dhcp-ignore-names"));
}

TEST_CASE("nothing to serve means no dnsmasq") {
  folder dir;
  auto at = dir.path() + "/net";
  CHECK(dnsmasq_command(plan_of({{"ipv4.address", "none"}, {"ipv6.address", "none"}}), at)->empty());
  CHECK(
      dnsmasq_command(plan_of({{"ipv4.dhcp", "false"}, {"ipv6.address", "none"}, {"dns.mode", "none"}}), at)->empty());
  CHECK_FALSE(std::filesystem::exists(at));
  auto no_dns = dnsmasq_command(plan_of({{"dns.mode", "none"}}), at);
  CHECK(has(*no_dns, "--port=0"));
  CHECK_FALSE(has(*no_dns, "--domain=lxd"));
  CHECK(dnsmasq_command(plan_of(), "relative").error().code == fault::invalid);
  CHECK(dnsmasq_command(plan_of(), "/tmp/a,b").error().code == fault::invalid);
}

TEST_CASE("lease files parse, also hostile ones") {
  auto file = parse_leases("1893456000 00:16:3e:00:00:01 10.190.40.5 c1 01:00:16:3e:00:00:01\n"
                           "0 00:16:3e:00:00:02 10.190.40.6 * *\n"
                           "duid 00:01:00:01:aa:bb:cc:dd:00:16:3e:ff:ff:ff\n"
                           "1893456000 4283 fd42:190:40::5 c1 00:03:00:01:00:16:3e:00:00:01\n"
                           "1893456000 T77 fd42:190:40::6 * 00:02:00:00:ab:11\n"
                           "junk\n-1 x y z w\n1 2 3 4 5\n99999999999999999999 a b c d\n"
                           "1893456000 00:16:3e:00:00:03 10.190.40.7 a,b;c *\n1893456000 00:16:3e:00:00:04 10.1");
  REQUIRE(file.rows.size() == 5);
  CHECK(file.server_duid == "00:01:00:01:aa:bb:cc:dd:00:16:3e:ff:ff:ff");
  CHECK(file.rows[0].hostname == "c1");
  CHECK(file.rows[1].hostname.empty());
  CHECK(file.rows[1].client_id.empty());
  CHECK(file.rows[2].v6);
  CHECK(file.rows[2].iaid == 4283);
  CHECK(file.rows[2].hwaddr == "00:16:3e:00:00:01");
  CHECK(file.rows[3].temporary);
  CHECK(file.rows[3].hwaddr.empty());
  CHECK(file.rows[4].hostname.empty());
}

TEST_CASE("leases are static ones, then dynamic ones that have not run out") {
  folder dir;
  REQUIRE(add_dhcp_host(dir.path(), {"s.eth0", "00:16:3e:00:00:01", "s", "10.190.40.5", ""}));
  REQUIRE(add_dhcp_host(dir.path(), {"t.eth0", "00:16:3e:00:00:09", "t", "", ""}));
  write_file(dir.path() + "/dnsmasq.leases", "4000000000 00:16:3e:00:00:01 10.190.40.5 s *\n"
                                             "4000000000 00:16:3e:00:00:02 10.190.40.6 d *\n"
                                             "1000 00:16:3e:00:00:03 10.190.40.7 old *\n"
                                             "4000000000 5 fd42:190:40::9 t 00:02:00:00:ab:11\n");
  auto leases = list_leases(dir.path());
  REQUIRE(leases);
  REQUIRE(leases->size() == 3);
  CHECK(leases->at(0).is_static);
  CHECK(leases->at(0).address == "10.190.40.5");
  CHECK_FALSE(leases->at(1).is_static);
  CHECK(leases->at(1).hostname == "d");
  CHECK(leases->at(2).hwaddr == "00:16:3e:00:00:09"); // by its name
  CHECK(list_leases(dir.path() + "/nowhere")->empty());
}

TEST_CASE("releasing nothing is fine, junk is not") {
  enter_own_network();
  folder dir;
  CHECK(release_lease(plan_of(), dir.path(), "00:16:3e:00:00:01"));
  CHECK(release_lease(plan_of(), dir.path(), "junk").error().code == fault::invalid);
  write_file(dir.path() + "/dnsmasq.leases", "4000000000 00:16:3e:00:00:01 10.190.40.5 s *\n");
  CHECK(release_lease(plan_of(), dir.path(), "00:16:3e:00:00:01")); // no such bridge
}
