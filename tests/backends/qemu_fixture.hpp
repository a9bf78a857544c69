#pragma once

#include "backends/instance/qemu/qemu_parts.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace troupe::test {

/// Firmware instead of UEFI: starts in microseconds, greets on the serial port and echoes what is typed there, but for
/// 'r', at which it resets the machine, and 's', at which it switches it off.
inline std::string tiny_firmware() {
  static constexpr unsigned char code[] = {
      0xfa,                                                             // cli
      0x8c, 0xc8, 0x8e, 0xd8,                                           // ds = cs
      0xba, 0xfb, 0x03, 0xb0, 0x03, 0xee,                               // 8 bits, no parity
      0xba, 0xfc, 0x03, 0xb0, 0x03, 0xee,                               // ready
      0xbe, 0x85, 0x00,                                                 // si = greeting
      0xac, 0x84, 0xc0, 0x74, 0x05, 0xe8, 0x1b, 0x00, 0xeb, 0xf6,       // send until the 0
      0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8,                   // wait for a byte
      0xba, 0xf8, 0x03, 0xec,                                           // read it
      0x3c, 'r',  0x74, 0x1a, 0x3c, 's',  0x74, 0x1e,                   // reset, off
      0xe8, 0x02, 0x00, 0xeb, 0xe7,                                     // or send it, and again
      0x88, 0xc3, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xf8,       // send: when there is room
      0xba, 0xf8, 0x03, 0x88, 0xd8, 0xee, 0xc3,                         //
      0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xeb, 0xce,                   // reset control
      0x66, 0xb8, 0x40, 0xf8, 0x00, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef, // power management at 0x600
      0x66, 0xb8, 0x01, 0x06, 0x00, 0x00, 0xba, 0xfc, 0x0c, 0x66, 0xef, //
      0x66, 0xb8, 0x44, 0xf8, 0x00, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef, // switched on
      0x66, 0xb8, 0x80, 0x00, 0x00, 0x00, 0xba, 0xfc, 0x0c, 0x66, 0xef, //
      0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xeb, 0x99,             // soft off
  };
  constexpr std::string_view greeting = "hello from the machine\r\n";
  constexpr std::array<unsigned char, 5> first{0xea, 0x00, 0x00, 0x00, 0xf0}; // jmp f000:0000
  std::string image(64 << 10, '\xff');
  std::copy(std::begin(code), std::end(code), image.begin());
  std::copy(greeting.begin(), greeting.end(), image.begin() + sizeof code);
  image[sizeof code + greeting.size()] = 0;
  std::copy(first.begin(), first.end(), image.end() - 16);
  return image;
}

/// One daemon's worth of driver with its own names, and the volume of one machine; takes down what a failed test
/// leaves.
class qemu_world {
public:
  explicit qemu_world(const std::string& part)
      : id{"trtest-" + part + "-" + std::to_string(::getpid())}, place{"/tmp/" + id} {
    std::filesystem::create_directories(place / "vm1");
    std::filesystem::create_directories(place / "firmware");
    for (auto name : {"OVMF_CODE_4M.fd", "OVMF_CODE_4M.secboot.fd"}) put(place / "firmware" / name, tiny_firmware());
    put(place / "firmware/OVMF_VARS_4M.fd", std::string(4096, 'p'));
    put(place / "firmware/OVMF_VARS_4M.ms.fd", std::string(4096, 's'));
    make_disk(place / "vm1/root.img", 8 << 20);
    driver = make();
  }
  ~qemu_world() {
    driver->sweep("vm1");
    driver.reset();
    std::error_code ignored;
    std::filesystem::remove_all(place, ignored);
  }

  static void put(const std::filesystem::path& path, const std::string& content) {
    std::ofstream{path, std::ios::trunc | std::ios::binary} << content;
  }
  static void make_disk(const std::filesystem::path& path, off_t size) {
    put(path, "");
    if (::truncate(path.c_str(), size) != 0) std::abort();
  }

  static std::string helper() {
    const char* bin = std::getenv("TROUPE_BIN");
    return std::string{bin ? bin : "/usr/bin"} + "/troupe-qemu";
  }
  std::unique_ptr<instance_driver> make() {
    auto made = qemu::make_driver({helper(), place / "run", id, ""}, {nullptr, {}, place / "firmware"});
    made->listen([this](const machine_news& n) {
      std::lock_guard hold{lock};
      news.push_back(n);
      changed.notify_all();
    });
    return made;
  }

  boot_plan plan() const {
    boot_plan p;
    p.key = "vm1";
    p.name = "vm1";
    p.architecture = "x86_64";
    p.root.path = place / "vm1";
    p.uuid = "8d1a5c3e-56c9-4a1f-9a53-0c7f3f1f5b11";
    p.config = {{"limits.memory", "64MiB"}, {"security.secureboot", "false"}};
    drive_plan root;
    root.device = "root";
    root.file = place / "vm1/root.img";
    p.drives.push_back(root);
    return p;
  }

  /// False after half a minute, which only a broken program reaches.
  bool await_news(const std::string& what) {
    std::unique_lock hold{lock};
    return changed.wait_for(hold, std::chrono::seconds{30}, [&] {
      return std::any_of(news.begin(), news.end(), [&](auto& n) { return n.what == what; });
    });
  }

  std::string id;
  std::filesystem::path place;
  std::mutex lock;
  std::condition_variable changed;
  std::vector<machine_news> news;
  std::unique_ptr<instance_driver> driver;
};

inline bool becomes_readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 30000) == 1;
}

/// Reads until `wanted` came; what came.
inline std::string read_until(int fd, const std::string& wanted) {
  std::string text;
  std::array<char, 512> part;
  while (text.find(wanted) == std::string::npos && becomes_readable(fd)) {
    auto n = ::read(fd, part.data(), part.size());
    if (n <= 0) break;
    text.append(part.data(), static_cast<size_t>(n));
  }
  return text;
}

} // namespace troupe::test
