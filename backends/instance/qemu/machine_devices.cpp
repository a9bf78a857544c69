#include "backends/instance/qemu/machine_devices.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace troupe::qemu {
namespace {

constexpr size_t plain_name_max = 20; // QEMU's block nodes have names of 31 characters at most
constexpr size_t serial_max = 36;     // of a SCSI disk; others show the first 20
constexpr const char* scsi_bus = "scsi.0";

/// FNV-1a: the same in every build, as names in a running machine have to be.
std::string digest(std::string_view text) {
  uint64_t hash = 14695981039346656037ULL;
  for (unsigned char c : text) hash = (hash ^ c) * 1099511628211ULL;
  std::string digits(16, '0');
  for (auto at = digits.rbegin(); at != digits.rend(); ++at, hash >>= 4) *at = "0123456789abcdef"[hash & 15];
  return digits;
}

bool is_plain(std::string_view name) {
  auto plain = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; };
  return !name.empty() && name.size() <= plain_name_max && std::all_of(name.begin(), name.end(), plain);
}

/// Some hosts do not let anybody have it, and QEMU does not fall back by itself.
bool has_io_uring() {
  static const bool has = [] {
    io_uring_params parameters{};
    unique_fd ring{static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters))};
    return static_cast<bool>(ring);
  }();
  return has;
}

tl::unexpected<error> refused(const drive_plan& plan, const std::string& why) {
  return fail(fault::invalid, "Device \"" + plan.device + "\": " + why);
}

} // namespace

std::string part_name(std::string_view prefix, const std::string& device) {
  std::string name{prefix};
  // A digest cannot be mistaken for a plain name: those do not begin with a dot here.
  return name + (is_plain(device) && device.front() != '.' ? device : "." + digest(device));
}

std::string limit_group(const std::string& file) { return "limit-" + digest(file); }

outcome<drive_file> open_drive(const drive_plan& plan) {
  bool readonly = plan.readonly || plan.kind == drive_kind::cdrom;
  int mode = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK; // nothing here may be waited for
  drive_file out;
  out.fd.reset(::open(plan.file.c_str(), mode | O_DIRECT));
  out.direct = static_cast<bool>(out.fd);
  if (!out.fd && errno == EINVAL) out.fd.reset(::open(plan.file.c_str(), mode));
  if (!out.fd) return fail_errno(errno, "Device \"" + plan.device + "\": cannot open " + plan.file);
  struct stat st {};
  if (::fstat(out.fd.get(), &st) < 0) return fail_errno(errno, "Device \"" + plan.device + "\"");
  if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
    return refused(plan, plan.file + " is neither a file nor a block device");
  out.block = S_ISBLK(st.st_mode);
  ::fcntl(out.fd.get(), F_SETFL, 0);
  return out;
}

json limit_values(uint64_t read_bytes, uint64_t read_ops, uint64_t write_bytes, uint64_t write_ops) {
  return {{"bps-read", read_bytes}, {"iops-read", read_ops}, {"bps-write", write_bytes}, {"iops-write", write_ops}};
}

json limit_object(const drive_plan& plan) {
  return {{"qom-type", "throttle-group"},
          {"id", limit_group(plan.file)},
          {"limits", limit_values(plan.read_bytes, plan.read_ops, plan.write_bytes, plan.write_ops)}};
}

json drive_backend(const drive_plan& plan, const drive_file& file, const std::string& path) {
  bool readonly = plan.readonly || plan.kind == drive_kind::cdrom;
  bool direct = plan.cache == "none" && file.direct;
  json cache{{"direct", direct}, {"no-flush", plan.cache == "unsafe"}};
  json bottom{{"driver", file.block ? "host_device" : "file"},
              {"filename", path},
              {"aio", has_io_uring() ? "io_uring" : "threads"},
              {"cache", cache},
              {"read-only", readonly},
              {"discard", "unmap"}};
  json raw{{"driver", "raw"}, {"file", bottom}, {"cache", cache}, {"read-only", readonly}, {"discard", "unmap"}};
  return {{"driver", "throttle"},
          {"node-name", drive_node(plan.device)},
          {"throttle-group", limit_group(plan.file)},
          {"cache", cache},
          {"read-only", readonly},
          {"discard", "unmap"},
          {"file", raw}};
}

bool needs_port(const drive_plan& plan) { return plan.kind == drive_kind::disk && plan.bus != "virtio-scsi"; }

outcome<json> drive_device(const drive_plan& plan, const std::string& port, std::optional<int> boot_index) {
  json out{{"id", device_id(plan.device)}, {"drive", drive_node(plan.device)}};
  auto serial = ("lxd_" + plan.device).substr(0, serial_max); // what guests' own configurations look for
  if (boot_index) out["bootindex"] = *boot_index;
  if (plan.kind == drive_kind::cdrom || plan.bus == "virtio-scsi") {
    out["driver"] = plan.kind == drive_kind::cdrom ? "scsi-cd" : "scsi-hd";
    out["bus"] = scsi_bus;
    out["serial"] = serial;
    return out;
  }
  out["bus"] = port;
  if (plan.bus == "virtio-blk") {
    out["driver"] = "virtio-blk-pci";
    out["serial"] = serial.substr(0, 20);
  } else if (plan.bus == "nvme") {
    out["driver"] = "nvme";
    out["serial"] = serial.substr(0, 20);
  } else {
    return refused(plan, "there is no bus " + plan.bus);
  }
  return out;
}

json nic_device(const nic_plan& plan, std::string_view bus, const std::string& port) {
  json out{{"driver", "virtio-net-" + std::string{bus}},
           {"id", device_id(name_of(plan))},
           {"netdev", nic_backend(name_of(plan))},
           {"mac", plan.hwaddr}};
  if (!port.empty()) out["bus"] = port;
  if (plan.mtu > 0) out["host_mtu"] = plan.mtu;
  if (bus == "pci") {
    out["romfile"] = ""; // booting over the network is the firmware's own
    if (plan.queues.size() > 1) out["vectors"] = 2 * plan.queues.size() + 2;
  }
  if (plan.queues.size() > 1) out["mq"] = true;
  return out;
}

json nic_backend_object(const nic_plan& plan, const std::vector<std::string>& descriptors) {
  std::string list;
  for (const auto& each : descriptors) list += (list.empty() ? "" : ":") + each;
  return {{"type", "tap"},
          {"id", nic_backend(name_of(plan))},
          {descriptors.size() > 1 ? "fds" : "fd", list},
          {"vhost", false}};
}

} // namespace troupe::qemu
