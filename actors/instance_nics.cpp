#include "actors/instance_nics.hpp"

#include "actors/names.hpp"
#include "runtime/uuid.hpp"

namespace troupe {
namespace {

std::string volatile_key(std::string_view device, std::string_view what) {
  return "volatile." + std::string{device} + "." + std::string{what};
}

// A host-side name that is unique on the machine as long as MACs are: daemons side by side never meet.
std::string host_name_for(std::string_view mac) {
  std::string out = "veth";
  for (char c : mac.substr(9))
    if (c != ':') out += c;
  return out + random_mac().substr(15);
}

} // namespace

std::vector<nic_facts> nics_of(const expansion& effective) {
  std::vector<nic_facts> out;
  for (auto& [device, config] : effective.devices) {
    if (get(config, "type") != "nic") continue;
    auto pick = [&, &device = device, &config = config](std::string_view key) {
      auto own = get(config, key);
      return std::string{own.empty() ? get(effective.config, volatile_key(device, key)) : own};
    };
    nic_facts nic{device, std::string{get(config, "network")}};
    nic.managed = !nic.network.empty();
    nic.bridge = nic.managed ? nic.network : std::string{get(config, "parent")};
    nic.host_name = pick("host_name");
    nic.hwaddr = pick("hwaddr");
    nic.name = std::string{get(config, "name")};
    if (nic.name.empty()) nic.name = "eth" + std::to_string(out.size());
    nic.ipv4 = get(config, "ipv4.address");
    nic.ipv6 = get(config, "ipv6.address");
    nic.mtu = static_cast<uint32_t>(std::strtoul(std::string{get(config, "mtu")}.c_str(), nullptr, 10));
    out.push_back(std::move(nic));
  }
  return out;
}

void settle_volatile(config_map& own_config, const expansion& effective) {
  std::erase_if(own_config, [&](auto& entry) {
    auto& key = entry.first;
    if (!key.starts_with("volatile.") || !(key.ends_with(".hwaddr") || key.ends_with(".host_name"))) return false;
    auto device = key.substr(9, key.rfind('.') - 9);
    auto at = effective.devices.find(device);
    return at == effective.devices.end() || get(at->second, "type") != "nic";
  });
  if (auto& id = own_config["volatile.cloud-init.instance-id"]; id.empty()) id = make_uuid_v4();
  for (auto& [device, config] : effective.devices) {
    if (get(config, "type") != "nic") continue;
    auto mac = std::string{get(config, "hwaddr")};
    if (mac.empty()) {
      auto& kept = own_config[volatile_key(device, "hwaddr")];
      if (kept.empty()) kept = random_mac();
      mac = kept;
    }
    if (get(config, "host_name").empty()) {
      auto& kept = own_config[volatile_key(device, "host_name")];
      if (kept.empty()) kept = host_name_for(mac);
    }
  }
}

} // namespace troupe
