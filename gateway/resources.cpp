#include "gateway/server_facts.hpp"

#include "net/links.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sys/utsname.h>

namespace troupe {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string line_of(const fs::path& file) {
  std::ifstream in{file};
  std::string line;
  std::getline(in, line);
  return line;
}

uint64_t number_of(const fs::path& file, uint64_t fallback = 0) {
  auto line = line_of(file);
  char* end = nullptr;
  auto value = std::strtoull(line.c_str(), &end, 10);
  return end == line.c_str() ? fallback : value;
}

json cpu() {
  utsname host{};
  uname(&host);
  std::string name, vendor;
  std::ifstream in{"/proc/cpuinfo"};
  for (std::string line; std::getline(in, line);) {
    auto value = line.find(": ") == line.npos ? "" : line.substr(line.find(": ") + 2);
    if (line.starts_with("model name") && name.empty()) name = value;
    if (line.starts_with("vendor_id") && vendor.empty()) vendor = value;
  }
  std::map<uint64_t, std::map<uint64_t, json>> sockets; // socket -> core -> threads
  uint64_t total = 0;
  std::error_code none;
  for (auto& entry : fs::directory_iterator{"/sys/devices/system/cpu", none}) {
    auto file = entry.path().filename().string();
    if (!file.starts_with("cpu") || file.size() < 4 || !std::isdigit(static_cast<unsigned char>(file[3]))) continue;
    auto id = std::stoull(file.substr(3));
    auto topology = entry.path() / "topology";
    auto& threads = sockets[number_of(topology / "physical_package_id")][number_of(topology / "core_id", id)];
    threads.push_back({{"id", id},
                       {"numa_node", 0},
                       {"thread", threads.size()},
                       {"online", number_of(entry.path() / "online", 1) == 1},
                       {"isolated", false}});
    ++total;
  }
  json list = json::array();
  for (auto& [socket, cores] : sockets) {
    json core_list = json::array();
    for (auto& [core, threads] : cores) core_list.push_back({{"core", core}, {"die", 0}, {"threads", threads}});
    list.push_back({{"name", name}, {"vendor", vendor}, {"socket", socket}, {"cores", core_list}});
  }
  return {{"architecture", host.machine}, {"sockets", list}, {"total", total}};
}

json memory() {
  std::map<std::string, uint64_t> facts;
  std::ifstream in{"/proc/meminfo"};
  for (std::string key, unit, line; std::getline(in, line);)
    if (auto colon = line.find(':'); colon != line.npos)
      facts[line.substr(0, colon)] = std::strtoull(line.c_str() + colon + 1, nullptr, 10);
  auto total = facts["MemTotal"] * 1024, used = total - facts["MemAvailable"] * 1024;
  return {{"nodes",
           json::array(
               {{{"numa_node", 0}, {"hugepages_used", 0}, {"hugepages_total", 0}, {"used", used}, {"total", total}}})},
          {"hugepages_total", facts["HugePages_Total"] * facts["Hugepagesize"] * 1024},
          {"hugepages_used", (facts["HugePages_Total"] - facts["HugePages_Free"]) * facts["Hugepagesize"] * 1024},
          {"hugepages_size", facts["Hugepagesize"] * 1024},
          {"used", used},
          {"total", total}};
}

json storage() {
  json disks = json::array();
  std::error_code none;
  for (auto& entry : fs::directory_iterator{"/sys/class/block", none}) {
    auto name = entry.path().filename().string();
    if (!fs::exists(entry.path() / "device", none) || fs::exists(entry.path() / "partition", none)) continue;
    json partitions = json::array();
    for (auto& part : fs::directory_iterator{entry.path(), none}) {
      if (!fs::exists(part.path() / "partition", none)) continue;
      partitions.push_back({{"id", part.path().filename().string()},
                            {"device", line_of(part.path() / "dev")},
                            {"read_only", number_of(part.path() / "ro") == 1},
                            {"size", number_of(part.path() / "size") * 512},
                            {"partition", number_of(part.path() / "partition")}});
    }
    disks.push_back({{"id", name},
                     {"device", line_of(entry.path() / "dev")},
                     {"type", ""},
                     {"read_only", number_of(entry.path() / "ro") == 1},
                     {"size", number_of(entry.path() / "size") * 512},
                     {"removable", number_of(entry.path() / "removable") == 1},
                     {"numa_node", 0},
                     {"block_size", number_of(entry.path() / "queue/physical_block_size")},
                     {"rpm", 0},
                     {"device_id", ""},
                     {"partitions", partitions}});
  }
  auto total = disks.size();
  return {{"disks", disks}, {"total", total}};
}

json network() {
  json cards = json::array();
  if (auto links = list_links())
    for (auto& link : *links) {
      if (!link.kind.empty() || link.type == "loopback") continue;
      json port{{"id", link.name},        {"address", link.hwaddr},    {"port", 0},
                {"protocol", "ethernet"}, {"auto_negotiation", false}, {"link_detected", link.up}};
      cards.push_back({{"ports", json::array({port})}, {"numa_node", 0}});
    }
  auto total = cards.size();
  return {{"cards", cards}, {"total", total}};
}

json machine() {
  fs::path dmi{"/sys/class/dmi/id"};
  return {{"uuid", line_of(dmi / "product_uuid")},
          {"vendor", line_of(dmi / "sys_vendor")},
          {"product", line_of(dmi / "product_name")},
          {"family", line_of(dmi / "product_family")},
          {"version", line_of(dmi / "product_version")},
          {"sku", line_of(dmi / "product_sku")},
          {"serial", line_of(dmi / "product_serial")},
          {"type", "unknown"},
          {"firmware", nullptr},
          {"chassis", nullptr},
          {"motherboard", nullptr}};
}

} // namespace

std::string resources_json() {
  json out{{"cpu", cpu()},
           {"memory", memory()},
           {"gpu", {{"cards", json::array()}, {"total", 0}}},
           {"network", network()},
           {"storage", storage()},
           {"usb", {{"devices", json::array()}, {"total", 0}}},
           {"pci", {{"devices", json::array()}, {"total", 0}}},
           {"system", machine()}};
  return out.dump();
}

} // namespace troupe
