#include "backends/instance/qemu/machine.hpp"

#include "backends/instance/qemu/machine_devices.hpp"
#include "backends/instance/qemu/qmp_values.hpp"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace troupe::qemu {
namespace {

constexpr std::chrono::seconds guest_patience{10}; // for a guest to let go of a device
constexpr size_t picture_max = 64 << 20;           // bytes

constexpr const char* peripherals = "/machine/peripheral"; // devices with names

struct news_row {
  const char* event;
  const char* what;
};
constexpr news_row told[] = {
    {"SHUTDOWN", "shutdown"},
    {"RESET", "reset"},
    {"GUEST_PANICKED", "panicked"},
    {"BLOCK_IO_ERROR", "disk-error"},
};

/// The cause, in QEMU's word for it.
std::string detail_of(const json& data) {
  if (auto reason = text_of(data, "reason"); !reason.empty()) return reason;
  return text_of(data, "action");
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

outcome<void> only_success(outcome<json> answer) {
  if (!answer) return tl::unexpected{answer.error()};
  return {};
}

error named(const std::string& device, error why) {
  why.message = "Device \"" + device + "\": " + why.message;
  return why;
}

} // namespace

struct machine::deletions {
  std::mutex lock;
  std::condition_variable changed;
  std::set<std::string> awaited; // by somebody; taken out when QEMU told
};

outcome<std::shared_ptr<machine>> machine::open(socket_loop& loop, std::string key, std::string directory,
                                                machine_process process, news_sink news) {
  auto socket = connect_in(directory, "qmp");
  if (!socket) return tl::unexpected{socket.error()};
  auto gone = std::make_shared<deletions>();
  auto heard = [key, gone, news](const std::string& event, const json& data) {
    if (event == "DEVICE_DELETED") {
      std::lock_guard hold{gone->lock};
      gone->awaited.erase(text_of(data, "device"));
      gone->changed.notify_all();
    }
    for (const auto& row : told)
      if (event == row.event && news) news({key, row.what, detail_of(data)});
  };
  auto qmp = qmp_client::open(loop, std::move(*socket), heard);
  auto console = std::make_shared<machine_console>(loop, qmp, directory + "/console");
  return std::shared_ptr<machine>{new machine{process, std::move(qmp), std::move(console), std::move(gone)}};
}

outcome<bool> machine::has(const std::string& device) {
  auto list = qmp->call("qom-list", {{"path", peripherals}});
  if (!list) return tl::unexpected{list.error()};
  for (const auto& each : *list)
    if (text_of(each, "name") == device) return true;
  return false;
}

/// Asks for what is plugged in where, not for what the guest has found of it. Empty: there are no ports, and QEMU finds
/// a place.
outcome<std::string> machine::free_port() {
  auto list = qmp->call("qom-list", {{"path", peripherals}});
  if (!list) return tl::unexpected{list.error()};
  std::set<std::string> ports, taken;
  for (const auto& each : *list) {
    auto name = text_of(each, "name");
    if (name.starts_with(port_prefix)) ports.insert(name);
    if (!name.starts_with("dev-")) continue;
    auto bus = qmp->call("qom-get", {{"path", std::string{peripherals} + "/" + name}, {"property", "parent_bus"}});
    if (!bus) return tl::unexpected{bus.error()};
    if (bus->is_string()) taken.insert(last_part(bus->get<std::string>()));
  }
  if (ports.empty()) return std::string{};
  for (const auto& port : ports)
    if (!taken.contains(port)) return port;
  return fail(fault::unsupported, "The virtual machine has no free place for another device");
}

outcome<void> machine::add(const drive_plan& drive) {
  auto there = has(device_id(drive.device));
  if (!there) return tl::unexpected{there.error()};
  if (*there) return {};
  auto port = needs_port(drive) ? free_port() : outcome<std::string>{std::string{}};
  if (!port) return tl::unexpected{named(drive.device, port.error())};
  auto device = drive_device(drive, *port, std::nullopt);
  if (!device) return tl::unexpected{device.error()};
  auto file = open_drive(drive);
  if (!file) return tl::unexpected{file.error()};
  auto set = qmp->call("add-fd", json::object(), file->fd.get());
  if (!set) return tl::unexpected{named(drive.device, set.error())};
  auto number = number_of(*set, "fdset-id", -1);
  // What was left by somebody who did not come to an end.
  qmp->post("blockdev-del", {{"node-name", drive_node(drive.device)}});
  qmp->post("object-del", {{"id", limit_group(drive.file)}});
  auto path = "/dev/fdset/" + std::to_string(number);
  auto done = only_success(qmp->call("object-add", limit_object(drive)))
                  .and_then([&] { return only_success(qmp->call("blockdev-add", drive_backend(drive, *file, path))); })
                  .and_then([&] { return only_success(qmp->call("device_add", *device)); });
  qmp->post("remove-fd", {{"fdset-id", number}}); // the block node has its own
  if (done) return {};
  qmp->post("blockdev-del", {{"node-name", drive_node(drive.device)}});
  qmp->post("object-del", {{"id", limit_group(drive.file)}});
  return tl::unexpected{named(drive.device, done.error())};
}

outcome<void> machine::remove_device(const std::string& device) {
  {
    std::lock_guard hold{deletions_->lock};
    deletions_->awaited.insert(device);
  }
  auto asked = qmp->call("device_del", {{"id", device}});
  if (!asked && asked.error().code == fault::not_found) return {};
  bool pending = !asked && asked.error().message.find("in the process of unplug") != std::string::npos;
  if (!asked && !pending) return tl::unexpected{asked.error()};
  std::unique_lock hold{deletions_->lock};
  if (deletions_->changed.wait_for(hold, guest_patience, [&] { return !deletions_->awaited.contains(device); }))
    return {};
  deletions_->awaited.erase(device);
  return fail(fault::timed_out, "Somebody inside the virtual machine does not let go of it");
}

outcome<void> machine::remove(const drive_plan& drive) {
  if (auto done = remove_device(device_id(drive.device)); !done)
    return tl::unexpected{named(drive.device, done.error())};
  auto nodes = qmp->call("query-named-block-nodes", {{"flat", true}});
  if (!nodes) return tl::unexpected{named(drive.device, nodes.error())};
  for (const auto& node : *nodes) {
    if (text_of(node, "node-name") != drive_node(drive.device)) continue;
    auto done = qmp->call("blockdev-del", {{"node-name", drive_node(drive.device)}});
    if (!done) return tl::unexpected{named(drive.device, done.error())};
  }
  qmp->post("object-del", {{"id", limit_group(drive.file)}});
  return {};
}

outcome<void> machine::add(const nic_plan& nic) {
  const auto& name = name_of(nic);
  auto there = has(device_id(name));
  if (!there) return tl::unexpected{there.error()};
  if (*there) return {};
  if (nic.queues.empty())
    return fail(fault::unsupported, "Device \"" + name + "\": virtual machines cannot have such a card");
  auto port = free_port();
  if (!port) return tl::unexpected{named(name, port.error())};
  qmp->post("netdev_del", {{"id", nic_backend(name)}}); // left by somebody who did not come to an end
  std::vector<std::string> names;
  for (const auto& queue : nic.queues) {
    auto fd_name = part_name("queue" + std::to_string(names.size()) + "-", name);
    auto passed = qmp->call("getfd", {{"fdname", fd_name}}, queue->get());
    if (!passed) return tl::unexpected{named(name, passed.error())};
    names.push_back(fd_name);
  }
  auto pci = qmp->call("query-pci");
  auto done = only_success(qmp->call("netdev_add", nic_backend_object(nic, names))).and_then([&] {
    return only_success(qmp->call("device_add", nic_device(nic, pci ? "pci" : "ccw", *port)));
  });
  if (done) return {};
  qmp->post("netdev_del", {{"id", nic_backend(name)}});
  return tl::unexpected{named(name, done.error())};
}

outcome<void> machine::remove(const nic_plan& nic) {
  if (auto done = remove_device(device_id(name_of(nic))); !done)
    return tl::unexpected{named(name_of(nic), done.error())};
  auto done = qmp->call("netdev_del", {{"id", nic_backend(name_of(nic))}});
  if (!done && done.error().code != fault::not_found) return tl::unexpected{named(name_of(nic), done.error())};
  return {};
}

outcome<unique_fd> machine::display(std::string_view protocol) {
  if (protocol != "spice" && protocol != "vnc")
    return fail(fault::invalid, "The screen does not speak " + std::string{protocol});
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return fail_errno(errno, "Cannot make a socketpair");
  unique_fd ours{fds[0]}, theirs{fds[1]};
  auto passed = qmp->call("getfd", {{"fdname", "screen"}}, theirs.get());
  if (!passed) return tl::unexpected{passed.error()};
  auto added = qmp->call("add_client", {{"protocol", protocol}, {"fdname", "screen"}, {"skipauth", true}});
  if (!added) return tl::unexpected{added.error()};
  return ours;
}

outcome<std::string> machine::screenshot() {
  unique_fd file{::memfd_create("screenshot", MFD_CLOEXEC)};
  unique_fd to_write{file ? ::open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_WRONLY | O_CLOEXEC) : -1};
  if (!to_write) return fail_errno(errno, "Cannot make room for a screenshot");
  auto set = qmp->call("add-fd", json::object(), to_write.get());
  if (!set) return tl::unexpected{set.error()};
  auto number = number_of(*set, "fdset-id", -1);
  auto done = qmp->call("screendump", {{"filename", "/dev/fdset/" + std::to_string(number)}, {"format", "png"}});
  qmp->post("remove-fd", {{"fdset-id", number}});
  if (!done) return tl::unexpected{done.error()};
  struct stat st {};
  if (::fstat(file.get(), &st) < 0 || st.st_size <= 0 || static_cast<size_t>(st.st_size) > picture_max)
    return fail(fault::backend_failed, "QEMU made no picture of the screen");
  std::string picture(static_cast<size_t>(st.st_size), '\0');
  if (::pread(file.get(), picture.data(), picture.size(), 0) != st.st_size)
    return fail_errno(errno, "Cannot read the screenshot");
  return picture;
}

} // namespace troupe::qemu
