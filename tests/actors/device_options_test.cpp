#include "actors/device_options.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace troupe;

namespace {

std::optional<fault> refused(const outcome<void>& result) {
  return result ? std::nullopt : std::optional{result.error().code};
}
std::optional<fault> device(config_map keys) { return refused(check_devices({{"d", std::move(keys)}})); }

constexpr std::nullopt_t fine = std::nullopt;

config_map nic(config_map more) {
  more["type"] = "nic";
  return more;
}
config_map disk(config_map more) {
  more["type"] = "disk";
  return more;
}
config_map proxy(config_map more) {
  more["type"] = "proxy";
  return more;
}

} // namespace

TEST_CASE("Every option of the table has a known kind, stands once for it, and is explained") {
  for (auto& row : device_options()) {
    INFO(row.option << " of " << row.kinds);
    CHECK_FALSE(row.meaning.empty());
    size_t kinds = 0;
    for (auto& kind : device_kinds()) {
      if (!has_word(row.kinds, kind.kind)) continue;
      ++kinds;
      CHECK(find_option(kind.kind, row.option) == &row);
    }
    CHECK(kinds == 1u + static_cast<size_t>(std::count(row.kinds.begin(), row.kinds.end(), ' ')));
    if (!row.fallback.empty()) CHECK(check_value(row.option, row.fallback, row.form, row.choices));
  }
}

TEST_CASE("Options are typed: control characters and shell's words do not pass where something is parsed") {
  for (auto& row : device_options()) {
    if (row.form == value_type::text || row.form == value_type::line || !row.refused.empty()) continue;
    INFO(row.option << " of " << row.kinds);
    for (auto evil : {"a\nb", "$(id)", "`id`", "a;b", "a b", "../x", "a\x01", "\"", "a\\"})
      CHECK_FALSE(check_value(row.option, evil, row.form, row.choices));
  }
}

TEST_CASE("Disks: the root disk, folders of the host, a tmpfs") {
  CHECK(device({{"type", "none"}}) == fine);
  CHECK(device(disk({{"path", "/"}, {"pool", "p"}})) == fine);
  CHECK(device(disk({{"path", "/"}, {"pool", "p"}, {"limits.read", "10MB"}, {"limits.write", "50iops"}})) == fine);
  CHECK(device(disk({{"path", "/mnt"}, {"source", "/srv"}, {"readonly", "true"}, {"user.note", "x"}})) == fine);
  CHECK(device(disk({{"path", "/mnt"}, {"source", "tmpfs:"}, {"size", "1MiB"}})) == fine);
  CHECK(device(disk({{"path", "/"}})) == fault::invalid);
  CHECK(device(disk({{"path", "/"}, {"pool", "p"}, {"source", "/etc"}})) == fault::unsupported);
  CHECK(device(disk({{"path", "/"}, {"pool", "p"}, {"size", "1GiB"}})) == fine);
  CHECK(device(disk({{"path", "/mnt"}, {"pool", "p"}, {"source", "v"}})) == fine);
  CHECK(device(disk({{"path", "/mnt"}, {"pool", "p"}, {"source", "/etc"}})) == fault::invalid);
  CHECK(device(disk({{"path", "/mnt"}, {"pool", "p"}, {"source", "v"}, {"size", "1GiB"}})) == fault::invalid);
  CHECK(device(disk({{"path", "/mnt"}})) == fault::invalid);
  CHECK(device(disk({{"path", "mnt"}, {"source", "/srv"}})) == fault::invalid);
  CHECK(device(disk({{"path", "/a/../b"}, {"source", "/srv"}})) == fault::invalid);
  CHECK(device(disk({{"path", "/mnt"}, {"source", "srv"}})) == fault::invalid);
  CHECK(device(disk({{"path", "/mnt"}, {"source", "/srv"}, {"size", "1MiB"}})) == fault::invalid);
  CHECK(device(disk({{"path", "/mnt"}, {"source", "/srv"}, {"propagation", "sometimes"}})) == fault::invalid);
  CHECK(device(disk({{"path", "/mnt"}, {"source", "ceph:a/b"}})) == fault::unsupported);
}

TEST_CASE("Nics: each kind has options of its own") {
  CHECK(device(nic({{"network", "br0"}, {"name", "eth0"}, {"hwaddr", "00:16:3e:00:00:01"}})) == fine);
  CHECK(device(nic({{"nictype", "bridged"}, {"parent", "br0"}, {"limits.ingress", "1Mbit"}})) == fine);
  CHECK(device(nic({{"nictype", "macvlan"}, {"parent", "eth0"}})) == fine);
  CHECK(device(nic({{"nictype", "routed"}, {"ipv4.address", "10.0.0.2, 10.0.0.3"}})) == fine);
  CHECK(device(nic({{"nictype", "p2p"}, {"ipv4.routes", "10.0.0.0/24,10.1.0.0/16"}})) == fine);
  CHECK(device(nic({})) == fault::invalid);
  CHECK(device(nic({{"nictype", "telepathic"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "sriov"}, {"parent", "eth0"}})) == fault::unsupported);
  CHECK(device(nic({{"network", "br0"}, {"parent", "br0"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "bridged"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "macvlan"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "routed"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "p2p"}, {"ipv4.routes", "10.0.0.1/24"}})) == fault::invalid); // host bits
  CHECK(device(nic({{"nictype", "macvlan"}, {"parent", "eth0"}, {"limits.max", "1Mbit"}})) == fault::invalid);
  CHECK(device(nic({{"network", "br0"}, {"limits.max", "1Mbit"}, {"limits.egress", "1Mbit"}})) == fault::invalid);
  CHECK(device(nic({{"network", "br0"}, {"vlan", "5"}, {"vlan.tagged", "7,10-12"}})) == fine);
  CHECK(device(nic({{"network", "br0"}, {"vlan", "4095"}})) == fault::invalid);
  CHECK(device(nic({{"network", "br0"}, {"vlan.tagged", "9-5"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "macvlan"}, {"parent", "eth0"}, {"vlan", "none"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "macvlan"}, {"parent", "eth0"}, {"gvrp", "true"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "p2p"}, {"vlan", "5"}})) == fault::unsupported);
  CHECK(device(nic({{"nictype", "ipvlan"}, {"parent", "eth0"}, {"ipv4.address", "10.0.0.2"}})) == fine);
  CHECK(device(nic({{"nictype", "ipvlan"}, {"parent", "eth0"}, {"ipv4.address", "10.0.0.2/24"}})) == fault::invalid);
  CHECK(device(nic({{"nictype", "ipvlan"}, {"parent", "eth0"}, {"mode", "l2"}, {"ipv4.gateway", "auto"}})) ==
        fault::invalid);
  CHECK(device(nic({{"network", "br0"}, {"name", "a/b"}})) == fault::invalid);
  CHECK(device(nic({{"network", "br0"}, {"name", "sixteen-letters-"}})) == fault::invalid);
  CHECK(device(nic({{"network", "br0"}, {"hwaddr", "00:16:3e"}})) == fault::invalid);
  CHECK(device(nic({{"network", "br0"}, {"mtu", "big"}})) == fault::invalid);
  CHECK(device(nic({{"network", "a\x01"}})) == fault::invalid);
}

TEST_CASE("Proxies: both sides must fit") {
  CHECK(device(proxy({{"listen", "tcp:0.0.0.0:80,90-91"}, {"connect", "tcp:127.0.0.1:80-82"}})) == fine);
  CHECK(device(proxy({{"listen", "tcp:[::]:80"}, {"connect", "unix:/run/x"}, {"bind", "guest"}})) == fine);
  CHECK(device(proxy({{"listen", "unix:/run/x"}, {"connect", "tcp:127.0.0.1:80"}, {"mode", "0600"}})) == fine);
  CHECK(device(proxy({{"listen", "tcp:0.0.0.0:80"}, {"connect", "tcp:10.0.0.2:80"}, {"nat", "true"}})) == fine);
  CHECK(device(proxy({{"listen", "tcp:0.0.0.0:80"}})) == fault::invalid);
  CHECK(device(proxy({{"listen", "tcp:0.0.0.0:80-81"}, {"connect", "tcp:1.2.3.4:1-3"}})) == fault::invalid);
  CHECK(device(proxy({{"listen", "udp:0.0.0.0:80"}, {"connect", "tcp:1.2.3.4:1"}})) == fault::invalid);
  CHECK(device(proxy({{"listen", "tcp:localhost:80"}, {"connect", "tcp:1.2.3.4:1"}})) == fault::invalid);
  CHECK(device(proxy({{"listen", "tcp:0.0.0.0:0"}, {"connect", "tcp:1.2.3.4:1"}})) == fault::invalid);
  CHECK(device(proxy({{"listen", "unix:x"}, {"connect", "tcp:1.2.3.4:1"}})) == fault::invalid);
  CHECK(device(proxy({{"listen", "unix:/x"}, {"connect", "tcp:1.2.3.4:1"}, {"nat", "true"}})) == fault::invalid);
  CHECK(device(proxy({{"listen", "tcp:0.0.0.0:1"}, {"connect", "tcp:1.2.3.4:1"}, {"mode", "0600"}})) == fault::invalid);
}

TEST_CASE("Nodes of the host, and what is no device at all") {
  CHECK(device({{"type", "unix-char"}, {"path", "/dev/fuse"}, {"mode", "0666"}}) == fine);
  CHECK(device({{"type", "unix-block"}, {"path", "/dev/x"}, {"major", "7"}, {"minor", "0"}}) == fine);
  CHECK(device({{"type", "unix-char"}}) == fault::invalid);
  CHECK(device({{"type", "unix-char"}, {"path", "/dev/x"}, {"major", "7"}}) == fault::invalid);
  CHECK(device({{"type", "unix-char"}, {"path", "/dev/x"}, {"mode", "rw"}}) == fault::invalid);
  CHECK(device({}) == fault::invalid);
  CHECK(device({{"type", "dsik"}}) == fault::invalid);
  CHECK(device({{"type", "tpm"}}) == fault::invalid);
  CHECK(device({{"type", "tpm"}, {"path", "/dev/tpm0"}}) == fine);
  CHECK(device({{"type", "infiniband"}}) == fault::unsupported);
  CHECK(refused(check_devices({{"../d", {{"type", "none"}}}})) == fault::invalid);
}

TEST_CASE("A running instance takes changes in place, by replugging, or not at all") {
  auto card = nic({{"network", "br0"}, {"limits.max", "1Mbit"}});
  auto with = [](config_map base, const char* key, const char* value) {
    base[key] = value;
    return base;
  };
  CHECK(compare_device(card, card) == device_change::none);
  CHECK(compare_device(card, with(card, "limits.max", "2Mbit")) == device_change::in_place);
  CHECK(compare_device(card, with(card, "mtu", "1400")) == device_change::replug);
  CHECK(compare_device(card, with(card, "network", "br1")) == device_change::replug);
  CHECK(compare_device(card, with(card, "user.note", "x")) == device_change::none);
  CHECK(compare_device(card, {{"type", "none"}}) == device_change::replug);
  auto root = disk({{"path", "/"}, {"pool", "p"}});
  CHECK(check_live_devices({{"root", root}}, {{"root", with(root, "limits.read", "1MB")}}));
  CHECK(refused(check_live_devices({{"root", root}}, {})) == fault::wrong_state);
  CHECK(refused(check_live_devices({{"root", root}}, {{"root", with(root, "pool", "q")}})) == fault::wrong_state);
  CHECK(check_live_devices({{"root", root}}, {{"root", root}, {"eth0", card}}));
}
