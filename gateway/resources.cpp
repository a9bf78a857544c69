#include "gateway/host_devices.hpp"
#include "gateway/server_facts.hpp"
#include "gateway/sys_files.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <sys/utsname.h>

namespace troupe {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// "32K", "4M" in bytes.
uint64_t size_of_cache(const std::string& text) {
  char* unit = nullptr;
  auto size = std::strtoull(text.c_str(), &unit, 10);
  return *unit == 'K' ? size << 10 : *unit == 'M' ? size << 20 : size;
}

json cpu_details(const fs::path& cpu) {
  json out{{"cache", json::array()}};
  std::error_code none;
  for (auto& entry : fs::directory_iterator{cpu / "cache", none})
    if (auto& at = entry.path(); fs::exists(at / "level", none))
      out["cache"].push_back({{"level", number_of(at / "level")},
                              {"type", line_of(at / "type")},
                              {"size", size_of_cache(line_of(at / "size"))}});
  auto megahertz = [&](const char* file) { return number_of(cpu / "cpufreq" / file) / 1000; };
  if (auto now = megahertz("scaling_cur_freq")) out["frequency"] = now;
  if (auto least = megahertz("cpuinfo_min_freq")) out["frequency_minimum"] = least;
  if (auto most = megahertz("cpuinfo_max_freq")) out["frequency_turbo"] = most;
  return out;
}

/// A CPU's folder has a link to its node.
uint64_t node_of_cpu(const fs::path& cpu) {
  std::error_code none;
  for (auto& entry : fs::directory_iterator{cpu, none})
    if (auto name = entry.path().filename().string(); name.starts_with("node")) return std::stoull(name.substr(4));
  return 0;
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
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> dies;
  std::map<uint64_t, json> speeds; // of each socket's first CPU: caches and frequencies
  uint64_t total = 0;
  std::error_code none;
  for (auto& entry : fs::directory_iterator{"/sys/devices/system/cpu", none}) {
    auto file = entry.path().filename().string();
    if (!file.starts_with("cpu") || file.size() < 4 || !std::isdigit(static_cast<unsigned char>(file[3]))) continue;
    auto id = std::stoull(file.substr(3));
    auto topology = entry.path() / "topology";
    auto socket = number_of(topology / "physical_package_id"), core = number_of(topology / "core_id", id);
    auto& threads = sockets[socket][core];
    dies[{socket, core}] = number_of(topology / "die_id");
    if (!speeds.contains(socket)) speeds[socket] = cpu_details(entry.path());
    threads.push_back({{"id", id},
                       {"numa_node", node_of_cpu(entry.path())},
                       {"thread", threads.size()},
                       {"online", number_of(entry.path() / "online", 1) == 1},
                       {"isolated", false}});
    ++total;
  }
  json list = json::array();
  for (auto& [socket, cores] : sockets) {
    json core_list = json::array();
    for (auto& [core, threads] : cores)
      core_list.push_back({{"core", core}, {"die", dies[{socket, core}]}, {"threads", threads}});
    json one{{"name", name}, {"vendor", vendor}, {"socket", socket}, {"cores", core_list}};
    one.update(speeds[socket]);
    list.push_back(std::move(one));
  }
  return {{"architecture", host.machine}, {"sockets", list}, {"total", total}};
}

json memory_nodes(uint64_t hugepage_bytes) {
  json out = json::array();
  std::error_code none;
  for (auto& entry : fs::directory_iterator{"/sys/devices/system/node", none}) {
    auto name = entry.path().filename().string();
    if (!name.starts_with("node") || !std::isdigit(static_cast<unsigned char>(name[4]))) continue;
    std::map<std::string, uint64_t> facts;
    std::ifstream in{entry.path() / "meminfo"}; // "Node 0 MemTotal:  123 kB"
    for (std::string node, number, key, line; std::getline(in, line);) {
      std::istringstream words{line};
      uint64_t value = 0;
      if (words >> node >> number >> key >> value) facts[key] = value;
    }
    out.push_back({{"numa_node", std::stoull(name.substr(4))},
                   {"hugepages_total", facts["HugePages_Total:"] * hugepage_bytes},
                   {"hugepages_used", (facts["HugePages_Total:"] - facts["HugePages_Free:"]) * hugepage_bytes},
                   {"used", (facts["MemTotal:"] - facts["MemFree:"]) * 1024},
                   {"total", facts["MemTotal:"] * 1024}});
  }
  return out;
}

json memory() {
  std::map<std::string, uint64_t> facts;
  std::ifstream in{"/proc/meminfo"};
  for (std::string key, unit, line; std::getline(in, line);)
    if (auto colon = line.find(':'); colon != line.npos)
      facts[line.substr(0, colon)] = std::strtoull(line.c_str() + colon + 1, nullptr, 10);
  auto total = facts["MemTotal"] * 1024, used = total - facts["MemAvailable"] * 1024;
  return {{"nodes", memory_nodes(facts["Hugepagesize"] * 1024)},
          {"hugepages_total", facts["HugePages_Total"] * facts["Hugepagesize"] * 1024},
          {"hugepages_used", (facts["HugePages_Total"] - facts["HugePages_Free"]) * facts["Hugepagesize"] * 1024},
          {"hugepages_size", facts["Hugepagesize"] * 1024},
          {"used", used},
          {"total", total}};
}

// SMBIOS' numbers of chassis; the rest is told by its number.
std::string chassis_type(const std::string& number) {
  static const std::map<std::string, std::string> names{{"3", "desktop"}, {"9", "laptop"},      {"10", "notebook"},
                                                        {"17", "server"}, {"23", "rack mount"}, {"28", "blade"}};
  auto at = names.find(number);
  return at == names.end() ? number : at->second;
}

bool is_virtual() {
  std::ifstream in{"/proc/cpuinfo"};
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("flags")) return line.find(" hypervisor") != line.npos;
  return false;
}

json machine() {
  fs::path dmi{"/sys/class/dmi/id"};
  auto said = [&](const char* file) { return trimmed(line_of(dmi / file)); };
  return {
      {"uuid", said("product_uuid")},
      {"vendor", said("sys_vendor")},
      {"product", said("product_name")},
      {"family", said("product_family")},
      {"version", said("product_version")},
      {"sku", said("product_sku")},
      {"serial", said("product_serial")},
      {"type", is_virtual() ? "virtual-machine" : "physical"},
      {"firmware", {{"vendor", said("bios_vendor")}, {"date", said("bios_date")}, {"version", said("bios_version")}}},
      {"chassis",
       {{"vendor", said("chassis_vendor")},
        {"type", chassis_type(said("chassis_type"))},
        {"serial", said("chassis_serial")},
        {"version", said("chassis_version")}}},
      {"motherboard",
       {{"vendor", said("board_vendor")},
        {"product", said("board_name")},
        {"serial", said("board_serial")},
        {"version", said("board_version")}}}};
}

} // namespace

std::string resources_json() {
  json out{{"cpu", cpu()},
           {"memory", memory()},
           {"gpu", gpu_devices()},
           {"network", network_devices()},
           {"storage", storage_devices()},
           {"usb", usb_devices()},
           {"pci", pci_devices()},
           {"system", machine()}};
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace troupe
