#include "cli/init/standard.hpp"

#include "cli/server.hpp"

#include <nlohmann/json.hpp>
#include <unistd.h>

namespace troupe {

using nlohmann::json;

namespace {

/// The object of `list` named `preferred`, else the first; "" if there is none.
std::string pick(const json& list, const std::string& preferred) {
  std::string first;
  for (auto& object : list) {
    auto name = object.value("name", "");
    if (name == preferred) return name;
    if (first.empty()) first = name;
  }
  return first;
}

std::string free_bridge_name() {
  for (int i = 0;; ++i) {
    auto name = "troupebr" + std::to_string(i);
    if (::access(("/sys/class/net/" + name).c_str(), F_OK) != 0) return name;
  }
}

} // namespace

outcome<surroundings> look_around(const server& daemon) {
  surroundings out;
  auto facts = daemon.get("/1.0");
  if (!facts) return tl::unexpected{facts.error()};
  for (auto& driver : facts->value("environment", json::object()).value("storage_supported_drivers", json::array()))
    out.btrfs |= driver.value("Name", "") == "btrfs";
  auto pools = daemon.get("/1.0/storage-pools?recursion=1");
  if (!pools) return tl::unexpected{pools.error()};
  out.pool = pick(*pools, "default");
  auto networks = daemon.get("/1.0/networks?recursion=1");
  if (!networks) return tl::unexpected{networks.error()};
  json bridges = json::array();
  for (auto& network : *networks)
    if (network.value("managed", false) && network.value("type", "") == "bridge") bridges.push_back(network);
  out.bridge = pick(bridges, "troupebr0");
  out.free_bridge_name = free_bridge_name();
  auto profile = daemon.get("/1.0/profiles/default");
  if (!profile && profile.error().code != fault::not_found) return tl::unexpected{profile.error()};
  if (!profile) return out;
  for (auto& device : profile->value("devices", json::object())) {
    out.profile_has_root |= device.value("type", "") == "disk" && device.value("path", "") == "/";
    out.profile_has_nic |= device.value("type", "") == "nic";
  }
  return out;
}

json pool_entry(const pool_wish& wish) {
  json config = json::object();
  if (!wish.source.empty()) config["source"] = wish.source;
  if (!wish.size.empty()) config["size"] = wish.size;
  return {{"name", wish.name}, {"driver", wish.driver}, {"description", ""}, {"config", config}};
}

json network_entry(const bridge_wish& wish) {
  json config = {{"ipv4.address", wish.ipv4}, {"ipv6.address", wish.ipv6}};
  if (wish.ipv4 != "none") config["ipv4.nat"] = wish.ipv4_nat ? "true" : "false";
  if (wish.ipv6 != "none") config["ipv6.nat"] = wish.ipv6_nat ? "true" : "false";
  return {{"name", wish.name}, {"type", "bridge"}, {"description", ""}, {"config", config}};
}

json profile_entry(const surroundings& found, const std::string& pool, const std::string& bridge) {
  json devices = json::object();
  if (!found.profile_has_root && !pool.empty()) devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", pool}};
  if (!found.profile_has_nic && !bridge.empty())
    devices["eth0"] = {{"type", "nic"}, {"name", "eth0"}, {"network", bridge}};
  return {{"name", "default"}, {"devices", devices}};
}

} // namespace troupe
