#include "backends/host/host_nodes.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace troupe {
namespace {

namespace fs = std::filesystem;

constexpr int depth_max = 8; // of what hangs below one USB device

std::string line_of(const fs::path& file) {
  std::ifstream in{file};
  std::string line;
  std::getline(in, line);
  return line;
}

uint32_t number_in(const std::string& text, int base = 10) {
  uint32_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number, base);
  return number;
}

std::string hex_id(const fs::path& file) {
  auto text = line_of(file);
  return text.starts_with("0x") ? text.substr(2) : text;
}

/// A name below /dev that stays there.
bool is_device_name(const std::string& name) {
  return !name.empty() && name.front() != '/' && name.find("..") == name.npos &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

/// From the device's own "uevent": MAJOR, MINOR and DEVNAME. False: it has no node.
bool read_node(const fs::path& device, host_node& to) {
  std::ifstream in{device / "uevent"};
  std::string name;
  bool numbered = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("MAJOR=")) to.major = number_in(line.substr(6));
    if (line.starts_with("MINOR=")) to.minor = number_in(line.substr(6)), numbered = true;
    if (line.starts_with("DEVNAME=")) name = line.substr(8);
  }
  std::error_code none;
  to.subsystem = fs::read_symlink(device / "subsystem", none).filename().string();
  to.type = to.subsystem == "block" ? 'b' : 'c';
  to.path = "/dev/" + name;
  return numbered && is_device_name(name);
}

template <class Visit>
void each_usb_device(const std::string& sys, Visit visit) {
  std::error_code none;
  for (auto& entry : fs::directory_iterator{sys + "/bus/usb/devices", none}) {
    auto at = fs::canonical(entry.path(), none);
    if (none || !fs::exists(at / "idVendor", none)) continue;
    host_node node;
    node.vendor = line_of(at / "idVendor");
    node.product = line_of(at / "idProduct");
    node.serial = line_of(at / "serial");
    node.bus = number_in(line_of(at / "busnum"));
    node.number = number_in(line_of(at / "devnum"));
    visit(at, node);
  }
}

/// Devices below that are not USB devices of their own (behind a hub those come by themselves).
void add_children(const fs::path& folder, const host_node& parent, int depth, std::vector<host_node>& to) {
  std::error_code none;
  for (auto& entry : fs::directory_iterator{folder, none}) {
    if (entry.is_symlink(none) || !entry.is_directory(none) || fs::exists(entry.path() / "idVendor", none)) continue;
    auto node = parent;
    if (fs::exists(entry.path() / "dev", none) && read_node(entry.path(), node)) to.push_back(node);
    if (depth > 1) add_children(entry.path(), parent, depth - 1, to);
  }
}

bool by_path(const host_node& a, const host_node& b) { return a.path < b.path; }

} // namespace

std::vector<host_node> usb_nodes(const std::string& sys) {
  std::vector<host_node> out;
  each_usb_device(sys, [&](const fs::path& at, host_node node) {
    if (read_node(at, node)) out.push_back(std::move(node));
  });
  std::sort(out.begin(), out.end(), by_path);
  return out;
}

std::vector<host_node> usb_children(const std::string& sys) {
  std::vector<host_node> out;
  each_usb_device(sys, [&](const fs::path& at, const host_node& node) { add_children(at, node, depth_max, out); });
  std::sort(out.begin(), out.end(), by_path);
  return out;
}

std::vector<host_node> gpu_nodes(const std::string& sys) {
  std::vector<host_node> out;
  std::error_code none;
  for (auto& device : fs::directory_iterator{sys + "/bus/pci/devices", none}) {
    auto first = out.size();
    uint32_t card = 0;
    for (auto& entry : fs::directory_iterator{device.path() / "drm", none}) {
      host_node node;
      auto name = entry.path().filename().string();
      if (name.starts_with("card")) card = number_in(name.substr(4));
      node.vendor = hex_id(device.path() / "vendor");
      node.product = hex_id(device.path() / "device");
      node.pci = device.path().filename().string();
      if (read_node(entry.path(), node)) out.push_back(std::move(node));
    }
    for (auto at = first; at < out.size(); ++at) out[at].card = card;
  }
  std::sort(out.begin(), out.end(), by_path);
  return out;
}

} // namespace troupe
