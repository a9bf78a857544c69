#include "gateway/host_devices.hpp"

#include "gateway/sys_files.hpp"
#include "net/links.hpp"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <sys/utsname.h>

namespace troupe {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

uint64_t numa_node_of(const fs::path& device) {
  auto node = line_of(device / "numa_node");
  return node.empty() || node.front() == '-' ? 0 : number_of(device / "numa_node");
}

/// The address of the first device on the path upwards that is on that bus.
std::string address_on(std::string_view bus, const fs::path& device) {
  std::error_code none;
  for (auto at = fs::canonical(device, none); !none && at.has_relative_path(); at = at.parent_path())
    if (name_of_link(at / "subsystem") == bus) return at.filename().string();
  return {};
}

void add_if(json& to, const char* key, const std::string& value) {
  if (!value.empty()) to[key] = value;
}

void add_addresses(json& to, const fs::path& device) {
  add_if(to, "pci_address", address_on("pci", device));
  add_if(to, "usb_address", address_on("usb", device));
}

/// The names under which udev knows each device, by the last part of what they lead to.
std::map<std::string, std::string> links_in(const char* folder) {
  std::map<std::string, std::string> out;
  std::error_code none;
  for (auto& entry : fs::directory_iterator{folder, none})
    out.emplace(name_of_link(entry.path()), entry.path().filename().string());
  return out;
}

std::set<std::string> mounted_devices() {
  std::set<std::string> out;
  std::ifstream in{"/proc/self/mountinfo"};
  for (std::string line; std::getline(in, line);) {
    std::istringstream words{line};
    std::string id, parent, device;
    if (words >> id >> parent >> device) out.insert(device);
  }
  return out;
}

// sd (SCSI, SATA, USB), nvme, vd (virtio): as the name begins.
std::string kind_of_disk(const std::string& name, const json& disk) {
  if (name.starts_with("nvme")) return "nvme";
  if (name.starts_with("vd")) return "virtio";
  if (disk.contains("usb_address")) return "usb";
  return name.starts_with("sr") ? "cdrom" : name.starts_with("sd") ? "scsi" : "";
}

json partitions_of(const fs::path& disk, const std::set<std::string>& mounted) {
  json out = json::array();
  std::error_code none;
  for (auto& part : fs::directory_iterator{disk, none}) {
    if (!fs::exists(part.path() / "partition", none)) continue;
    auto device = line_of(part.path() / "dev");
    out.push_back({{"id", part.path().filename().string()},
                   {"device", device},
                   {"read_only", number_of(part.path() / "ro") == 1},
                   {"size", number_of(part.path() / "size") * 512},
                   {"partition", number_of(part.path() / "partition")},
                   {"mounted", mounted.contains(device)}});
  }
  return out;
}

} // namespace

json storage_devices() {
  json disks = json::array();
  std::error_code none;
  auto ids = links_in("/dev/disk/by-id"), paths = links_in("/dev/disk/by-path");
  auto mounted = mounted_devices();
  for (auto& entry : fs::directory_iterator{"/sys/class/block", none}) {
    auto name = entry.path().filename().string();
    auto& at = entry.path();
    if (!fs::exists(at / "device", none) || fs::exists(at / "partition", none)) continue;
    auto device = line_of(at / "dev");
    json disk{{"id", name},
              {"device", device},
              {"read_only", number_of(at / "ro") == 1},
              {"mounted", mounted.contains(device)},
              {"size", number_of(at / "size") * 512},
              {"removable", number_of(at / "removable") == 1},
              {"numa_node", numa_node_of(at / "device")},
              {"block_size", number_of(at / "queue/physical_block_size")},
              {"rpm", number_of(at / "queue/rotational")},
              {"device_id", ids[name]},
              {"partitions", partitions_of(at, mounted)}};
    add_addresses(disk, at / "device");
    disk["type"] = kind_of_disk(name, disk);
    add_if(disk, "model", trimmed(line_of(at / "device/model")));
    add_if(disk, "wwn", line_of(at / "wwid"));
    add_if(disk, "serial", trimmed(line_of(at / "device/serial")));
    add_if(disk, "firmware_version", trimmed(line_of(at / "device/firmware_rev")));
    add_if(disk, "device_path", paths[name]);
    disks.push_back(std::move(disk));
  }
  auto total = disks.size();
  return {{"disks", disks}, {"total", total}};
}

namespace {

/// "0x8086" as "8086".
std::string hex_id(const fs::path& file) {
  auto text = line_of(file);
  return text.starts_with("0x") ? text.substr(2) : text;
}

constexpr std::initializer_list<const char*> pci_id_files{"/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"};

/// What the host's own table calls vendors and products; without the table their numbers must do.
class id_names {
public:
  explicit id_names(const std::initializer_list<const char*>& files) {
    for (auto file : files) {
      std::ifstream in{file};
      std::string vendor;
      for (std::string line; std::getline(in, line) && !line.starts_with("C ");) {
        if (line.size() < 7 || line.front() == '#') continue;
        if (line.front() != '\t') {
          vendor = line.substr(0, 4);
          names_[vendor] = trimmed(line.substr(4));
        } else if (line[1] != '\t') {
          names_[vendor + ":" + line.substr(1, 4)] = trimmed(line.substr(5));
        }
      }
      if (!names_.empty()) return;
    }
  }
  std::string vendor(const std::string& id) const { return find(id); }
  std::string product(const std::string& vendor, const std::string& id) const { return find(vendor + ":" + id); }

private:
  std::string find(const std::string& key) const {
    auto at = names_.find(key);
    return at == names_.end() ? std::string{} : at->second;
  }
  std::map<std::string, std::string> names_;
};

void add_driver(json& to, const fs::path& device) {
  auto driver = name_of_link(device / "driver");
  to["driver"] = driver;
  to["driver_version"] = driver.empty() ? "" : line_of("/sys/module/" + driver + "/version");
  if (!driver.empty() && to["driver_version"] == "") {
    utsname host{};
    uname(&host);
    to["driver_version"] = host.release; // built with the kernel
  }
}

void add_pci_ids(json& to, const fs::path& device, const id_names& names) {
  auto vendor = hex_id(device / "vendor"), product = hex_id(device / "device");
  to["vendor"] = names.vendor(vendor);
  to["vendor_id"] = vendor;
  to["product"] = names.product(vendor, product);
  to["product_id"] = product;
}

} // namespace

json pci_devices() {
  id_names names{pci_id_files};
  json devices = json::array();
  std::error_code none;
  for (auto& entry : fs::directory_iterator{"/sys/bus/pci/devices", none}) {
    auto group = name_of_link(entry.path() / "iommu_group");
    json one{{"numa_node", numa_node_of(entry.path())},
             {"pci_address", entry.path().filename().string()},
             {"iommu_group", group.empty() ? 0 : std::strtoull(group.c_str(), nullptr, 10)},
             {"vpd", json::object()}};
    add_driver(one, entry.path());
    add_pci_ids(one, entry.path(), names);
    devices.push_back(std::move(one));
  }
  auto total = devices.size();
  return {{"devices", devices}, {"total", total}};
}

namespace {

json usb_interfaces(const fs::path& device) {
  json out = json::array();
  std::error_code none;
  for (auto& entry : fs::directory_iterator{device, none}) {
    if (!fs::exists(entry.path() / "bInterfaceNumber", none)) continue;
    auto number = [&](const char* file) { return std::strtoull(line_of(entry.path() / file).c_str(), nullptr, 16); };
    json one{{"class", ""},
             {"class_id", number("bInterfaceClass")},
             {"number", number("bInterfaceNumber")},
             {"subclass", ""},
             {"subclass_id", number("bInterfaceSubClass")}};
    add_driver(one, entry.path());
    out.push_back(std::move(one));
  }
  return out;
}

} // namespace

json usb_devices() {
  json devices = json::array();
  std::error_code none;
  for (auto& entry : fs::directory_iterator{"/sys/bus/usb/devices", none}) {
    auto& at = entry.path();
    if (!fs::exists(at / "idVendor", none)) continue;
    devices.push_back({{"bus_address", number_of(at / "busnum")},
                       {"device_address", number_of(at / "devnum")},
                       {"serial", line_of(at / "serial")},
                       {"interfaces", usb_interfaces(at)},
                       {"vendor", line_of(at / "manufacturer")},
                       {"vendor_id", line_of(at / "idVendor")},
                       {"product", line_of(at / "product")},
                       {"product_id", line_of(at / "idProduct")},
                       {"speed", std::strtod(line_of(at / "speed").c_str(), nullptr)}});
  }
  auto total = devices.size();
  return {{"devices", devices}, {"total", total}};
}

namespace {

/// The nodes of one card below /sys/.../drm: card0, controlD64, renderD128.
json drm_of(const fs::path& device) {
  json out{{"id", 0}};
  std::error_code none;
  for (auto& entry : fs::directory_iterator{device / "drm", none}) {
    auto name = entry.path().filename().string();
    auto kind = name.starts_with("card") ? "card" : name.starts_with("render") ? "render" : "control";
    if (name.starts_with("card")) out["id"] = std::strtoull(name.c_str() + 4, nullptr, 10);
    out[std::string{kind} + "_name"] = name;
    out[std::string{kind} + "_device"] = line_of(entry.path() / "dev");
  }
  return out;
}

} // namespace

json gpu_devices() {
  id_names names{pci_id_files};
  json cards = json::array();
  std::error_code none;
  for (auto& entry : fs::directory_iterator{"/sys/bus/pci/devices", none}) {
    if (!line_of(entry.path() / "class").starts_with("0x03")) continue; // displays
    json one{{"numa_node", numa_node_of(entry.path())}, {"pci_address", entry.path().filename().string()}};
    add_driver(one, entry.path());
    add_pci_ids(one, entry.path(), names);
    if (fs::exists(entry.path() / "drm", none)) one["drm"] = drm_of(entry.path());
    cards.push_back(std::move(one));
  }
  auto total = cards.size();
  return {{"cards", cards}, {"total", total}};
}

json network_devices() {
  id_names names{pci_id_files};
  json cards = json::array();
  std::error_code none;
  if (auto links = list_links())
    for (auto& link : *links) {
      if (!link.kind.empty() || link.type == "loopback") continue;
      fs::path at = "/sys/class/net/" + link.name;
      json port{
          {"id", link.name},        {"address", link.hwaddr},    {"port", number_of(at / "dev_port")},
          {"protocol", "ethernet"}, {"auto_negotiation", false}, {"link_detected", number_of(at / "carrier") == 1}};
      if (auto speed = line_of(at / "speed"); !speed.empty() && speed.front() != '-')
        port["link_speed"] = number_of(at / "speed");
      add_if(port, "link_duplex", line_of(at / "duplex") == "unknown" ? "" : line_of(at / "duplex"));
      json card{{"ports", json::array({port})}, {"numa_node", numa_node_of(at / "device")}};
      if (fs::exists(at / "device", none)) {
        add_driver(card, at / "device");
        add_addresses(card, at / "device");
      }
      if (auto address = card.value("pci_address", ""); !address.empty())
        add_pci_ids(card, "/sys/bus/pci/devices/" + address, names);
      cards.push_back(std::move(card));
    }
  auto total = cards.size();
  return {{"cards", cards}, {"total", total}};
}

} // namespace troupe
