#include "backends/host/host_nodes.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace troupe;
namespace fs = std::filesystem;

namespace {

/// A /sys with a USB stick that is a disk, behind a hub, and a graphics card.
struct made_up_sys {
  fs::path at = fs::temp_directory_path() / ("troupe-sys-" + std::to_string(::getpid()));
  ~made_up_sys() { fs::remove_all(at); }

  void file(const fs::path& path, const std::string& text) const {
    fs::create_directories((at / path).parent_path());
    std::ofstream{at / path} << text << "\n";
  }
  void node(const fs::path& path, const std::string& name, int major, int minor, const char* subsystem) const {
    file(path / "uevent", "MAJOR=" + std::to_string(major) + "\nMINOR=" + std::to_string(minor) + "\nDEVNAME=" + name);
    file(path / "dev", "x");
    fs::create_symlink(fs::path{"/x"} / subsystem, at / path / "subsystem");
  }
  void usb(const fs::path& path, const std::string& vendor, int number) const {
    file(path / "idVendor", vendor);
    file(path / "idProduct", "0001");
    file(path / "busnum", "1");
    file(path / "devnum", std::to_string(number));
    node(path, "bus/usb/001/00" + std::to_string(number), 189, number, "usb");
    fs::create_directories(at / "bus/usb/devices");
    fs::create_symlink(at / path, at / "bus/usb/devices" / path.filename());
  }
};

} // namespace

TEST_CASE("USB devices and what drivers make of them are found in sysfs") {
  made_up_sys sys;
  CHECK(usb_nodes(sys.at).empty());
  sys.usb("devices/1-1", "aaaa", 2);
  sys.usb("devices/1-1/1-1.4", "bbbb", 3);
  sys.node("devices/1-1/1-1.4/1-1.4:1.0/host0/block/sda", "sda", 8, 0, "block");
  sys.node("devices/1-1/1-1.4/1-1.4:1.0/bad", "../etc/passwd", 8, 1, "block");
  auto devices = usb_nodes(sys.at);
  REQUIRE(devices.size() == 2);
  CHECK(devices[0].path == "/dev/bus/usb/001/002");
  CHECK(devices[1].vendor == "bbbb");
  CHECK(devices[1].minor == 3);
  auto children = usb_children(sys.at);
  REQUIRE(children.size() == 1); // of the stick, not of the hub as well; and no path out of /dev
  CHECK(children[0].path == "/dev/sda");
  CHECK(children[0].type == 'b');
  CHECK(children[0].subsystem == "block");
  CHECK(children[0].vendor == "bbbb");
}

TEST_CASE("Nodes of a graphics card are found by its place on the bus") {
  made_up_sys sys;
  sys.file("bus/pci/devices/0000:01:00.0/vendor", "0x10de");
  sys.file("bus/pci/devices/0000:01:00.0/device", "0x1234");
  sys.node("bus/pci/devices/0000:01:00.0/drm/renderD129", "dri/renderD129", 226, 129, "drm");
  sys.node("bus/pci/devices/0000:01:00.0/drm/card1", "dri/card1", 226, 1, "drm");
  auto nodes = gpu_nodes(sys.at);
  REQUIRE(nodes.size() == 2);
  for (auto& node : nodes) {
    CHECK(node.card == 1);
    CHECK(node.vendor == "10de");
    CHECK(node.product == "1234");
    CHECK(node.pci == "0000:01:00.0");
  }
}
