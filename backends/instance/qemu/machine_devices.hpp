#pragma once

#include "backends/instance/instance_driver.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace troupe::qemu {

using json = nlohmann::json;

// Parts of a machine as QEMU wants to be told of them: the same objects on its command line and over QMP. Every name in
// QEMU follows from the name in the configuration, or from the file, so whoever finds a machine knows them too.

/// What QEMU takes for a name: `prefix` and the device's own, if it is one, or a digest of it.
std::string part_name(std::string_view prefix, const std::string& device);

inline std::string device_id(const std::string& device) { return part_name("dev-", device); }
inline std::string drive_node(const std::string& device) { return part_name("drive-", device); }
inline std::string nic_backend(const std::string& device) { return part_name("net-", device); }
/// The bounds of I/O on a file, whichever drive shows it.
std::string limit_group(const std::string& file);

/// A drive's file as it was opened.
struct drive_file {
  unique_fd fd;
  bool block = false;  // a block device
  bool direct = false; // can do without the host's cache
};
outcome<drive_file> open_drive(const drive_plan& plan);

/// QEMU's object of the file's bounds, with none set if the plan has none.
json limit_object(const drive_plan& plan);
json limit_values(uint64_t read_bytes, uint64_t read_ops, uint64_t write_bytes, uint64_t write_ops);
/// The drive below the device; `path` is how QEMU opens the file. Its content is never taken for another format.
json drive_backend(const drive_plan& plan, const drive_file& file, const std::string& path);
/// The device. `port`: what it is plugged into; unused by those on the SCSI controller, which need none.
outcome<json> drive_device(const drive_plan& plan, const std::string& port, std::optional<int> boot_index);
bool needs_port(const drive_plan& plan);

/// `bus`: as in the table of architectures.
json nic_device(const nic_plan& plan, std::string_view bus, const std::string& port);
/// `descriptors`: names or numbers of the tap's queues in QEMU.
json nic_backend_object(const nic_plan& plan, const std::vector<std::string>& descriptors);
inline const std::string& name_of(const nic_plan& nic) { return nic.device.empty() ? nic.name : nic.device; }

} // namespace troupe::qemu
