#pragma once

#include "messages/config_map.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe {

/// A device node as the kernel announces it, with what tells one device from another. Found in sysfs; /dev is not
/// asked, since it may be somebody else's idea of the host.
struct host_node {
  std::string path; // where udev puts it: "/dev/bus/usb/001/004"
  char type = 'c';  // or 'b'
  uint32_t major = 0, minor = 0;
  std::string subsystem;       // "usb", "tty", "drm"
  std::string vendor, product; // four hex digits
  std::string serial;
  uint32_t bus = 0, number = 0; // on a USB
  std::string pci;              // address on the PCI bus
  uint32_t card = 0;            // of a graphics card: its number among the cards
};

// What is there now. `sys`: where sysfs is. They read files and may block.

/// USB devices themselves.
std::vector<host_node> usb_nodes(const std::string& sys = "/sys");
/// What drivers make of USB devices: terminals, disks, HID, whatever has a node.
std::vector<host_node> usb_children(const std::string& sys = "/sys");
/// Cards, their render nodes and controls.
std::vector<host_node> gpu_nodes(const std::string& sys = "/sys");

} // namespace troupe
