#include "backends/instance/qemu/machine_arguments.hpp"

#include "backends/instance/lxc/lxc_config.hpp"
#include "backends/instance/qemu/firmware.hpp"
#include "backends/instance/qemu/machine_devices.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>

namespace troupe::qemu {
namespace {

constexpr uint64_t memory_default = 1ULL << 30, memory_min = 64ULL << 20; // bytes
constexpr unsigned cpus_max = 255;
constexpr int console_bytes = 1 << 20;
constexpr int ports_on_slot = 8, first_port_slot = 16;

/// Words and descriptors grow together.
class command_line {
public:
  command_line(const architecture& arch, int first) : arch_{arch}, first_{first} { out.words.push_back(arch.program); }

  void add(std::string option) { out.words.push_back(std::move(option)); }
  void add(std::string option, std::string value) {
    add(std::move(option));
    add(std::move(value));
  }
  void add_json(std::string option, const json& value) { add(std::move(option), value.dump()); }

  /// The descriptor's number in QEMU.
  std::string give(unique_fd fd) {
    out.descriptors.push_back(std::move(fd));
    return std::to_string(first_ + static_cast<int>(out.descriptors.size()) - 1);
  }
  /// A path by which QEMU opens the descriptor.
  std::string give_as_file(unique_fd fd) {
    auto set = std::to_string(++sets_);
    add("-add-fd", "fd=" + give(std::move(fd)) + ",set=" + set);
    return "/dev/fdset/" + set;
  }

  /// A virtio device (or another one, by its whole name) that stays for ever.
  void add_fixed(std::string driver, json properties) {
    if (driver.ends_with('-')) driver += arch_.bus;
    properties["driver"] = driver;
    if (arch_.root && !properties.contains("bus")) properties["bus"] = arch_.root;
    add_json("-device", properties);
  }
  /// Where a device is plugged in that may go; empty: QEMU finds a place.
  std::string next_port() { return arch_.ports ? port_name(ports_used_++) : std::string{}; }
  int ports_used() const { return ports_used_; }

  const architecture& arch() const { return arch_; }
  machine_command out;

private:
  const architecture& arch_;
  int first_, sets_ = 0, ports_used_ = 0;
};

std::string doubled_commas(std::string text) {
  for (size_t at = 0; (at = text.find(',', at)) != std::string::npos; at += 2) text.insert(at, ",");
  return text;
}

struct not_built {
  const char* key;
  const char* harmless; // the value that asks for nothing
};
constexpr not_built not_built_keys[] = {
    {"limits.memory.hugepages", "false"},
    {"security.csm", "false"},
    {"security.sev", "false"},
    {"security.sev.policy.es", "false"},
    {"raw.qemu.conf", ""},
    {"limits.cpu.pin_strategy", "none"},
    {"security.sev.session.dh", ""},
    {"security.sev.session.data", ""},
};

outcome<void> check(const boot_plan& plan) {
  for (auto [key, harmless] : not_built_keys)
    if (auto value = get(plan.config, key); !value.empty() && value != harmless)
      return fail(fault::unsupported, std::string{key} + " is not supported for virtual machines");
  if (!plan.mounts.empty())
    return fail(fault::unsupported,
                "Device \"" + plan.mounts[0].device + "\": folders cannot be shown in virtual machines");
  if (!plan.nodes.empty())
    return fail(fault::unsupported, "Device \"" + plan.nodes[0].device + "\" cannot be given to virtual machines");
  return {};
}

bool wants_secure_boot(const config_map& config) { return is_true(get(config, "security.secureboot", "true")); }

outcome<void> add_machine(command_line& to, const boot_plan& plan, const machine_host& host) {
  auto memory = machine_memory(plan.config, host);
  auto cpus = machine_processors(plan.config, host);
  if (!memory) return tl::unexpected{memory.error()};
  if (!cpus) return tl::unexpected{cpus.error()};
  const auto& arch = to.arch();
  bool uefi = arch.firmware != nullptr, secure = uefi && wants_secure_boot(plan.config);
  std::string machine = arch.machine;
  if (uefi) machine += ",pflash0=firmware,pflash1=nvram";
  if (arch.smm) machine += secure ? ",smm=on" : ",smm=off";
  auto count = std::to_string(cpus->count);
  to.add("-machine", machine);
  // Emulated processors that enter system management mode at the same time hang.
  to.add("-accel", host.kvm ? "kvm" : secure && arch.smm && cpus->count > 1 ? "tcg,thread=single" : "tcg,thread=multi");
  to.add("-cpu", host.kvm ? arch.kvm_cpu : arch.tcg_cpu);
  to.add("-smp", "cpus=" + count + ",sockets=1,cores=" + count + ",threads=1");
  to.add("-m", "size=" + std::to_string(*memory >> 20) + "M");
  to.add("-rtc", "base=utc");
  if (arch.smm) {
    to.add("-global", "ICH9-LPC.disable_s3=1"); // nobody could wake it
    to.add("-global", "ICH9-LPC.disable_s4=1");
    if (secure) to.add("-global", "driver=cfi.pflash01,property=secure,value=on");
  }
  if (!uefi) return {};
  auto firmware = open_firmware(arch, secure, host.firmware_folder, plan.root.path);
  if (!firmware) return tl::unexpected{firmware.error()};
  auto flash = [&to](const char* node, unique_fd file, bool readonly) {
    json bottom{{"driver", "file"}, {"filename", to.give_as_file(std::move(file))}, {"read-only", readonly}};
    to.add_json("-blockdev", json{{"driver", "raw"}, {"node-name", node}, {"read-only", readonly}, {"file", bottom}});
  };
  flash("firmware", std::move(firmware->code), true);
  flash("nvram", std::move(firmware->variables), false);
  return {};
}

/// Ports come in eights, the functions of one slot; each but the first devices' is free.
void add_ports(command_line& to, int count) {
  for (int i = 0; to.arch().ports && i < count; ++i) {
    auto slot = first_port_slot + i / ports_on_slot;
    json port{{"driver", "pcie-root-port"},
              {"id", port_name(i)},
              {"bus", to.arch().root},
              {"chassis", i + 1},
              {"slot", i + 1},
              {"io-reserve", 0},
              {"addr", json(std::to_string(slot) + "." + std::to_string(i % ports_on_slot))}};
    if (i % ports_on_slot == 0) port["multifunction"] = true;
    to.add_json("-device", port);
  }
}

void add_console(command_line& to) {
  to.add("-chardev", "ringbuf,id=console,size=" + std::to_string(console_bytes));
  if (to.arch().serial)
    to.add_json("-device", json{{"driver", to.arch().serial}, {"chardev", "console"}});
  else
    to.add("-serial", "chardev:console");
}

/// Reachable by sockets only that QMP is given (add_client); SPICE insists on an address, which nobody else sees.
void add_screen(command_line& to) {
  to.add("-display", "none");
  to.add_fixed(to.arch().display, {{"id", "screen"}});
  to.add_fixed("virtio-keyboard-", json::object());
  to.add_fixed("virtio-tablet-", json::object());
  to.add("-vnc", "none");
  if (to.arch().smm) to.add("-spice", "unix=on,addr=/run/spice,disable-ticketing=on");
}

void add_fixed_devices(command_line& to, machine_ends& ends) {
  to.add_fixed("virtio-scsi-", {{"id", "scsi"}});
  to.add_json("-object", json{{"qom-type", "rng-builtin"}, {"id", "random"}});
  to.add_fixed("virtio-rng-", {{"rng", "random"}});
  to.add_fixed("virtio-balloon-", {{"id", "balloon"}});
  to.add_fixed("virtio-serial-", {{"id", "channels"}});
  if (to.arch().watcher) to.add_fixed(to.arch().watcher, json::object());
  to.add("-chardev", "socket,id=agent,server=on,wait=off,fd=" + to.give(std::move(ends.agent)));
  to.add_json("-device", json{{"driver", "virtserialport"},
                              {"id", "agent"},
                              {"bus", "channels.0"},
                              {"chardev", "agent"},
                              {"name", "troupe.agent.0"}});
  to.add("-chardev", "socket,id=qmp,server=on,wait=off,fd=" + to.give(std::move(ends.qmp)));
  to.add("-mon", "chardev=qmp,mode=control");
}

/// The highest priority boots first; the root disk before others of its own. Without any all are tried like that.
std::vector<const drive_plan*> boot_order(const std::vector<drive_plan>& drives) {
  std::vector<const drive_plan*> order;
  for (const auto& drive : drives) order.push_back(&drive);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) {
    if (a->boot_priority != b->boot_priority) return a->boot_priority > b->boot_priority;
    return a->device == "root" && b->device != "root";
  });
  return order;
}

outcome<void> add_drive(command_line& to, const drive_plan& plan, std::optional<int> boot_index) {
  auto file = open_drive(plan);
  if (!file) return tl::unexpected{file.error()};
  auto path = to.give_as_file(std::move(file->fd));
  to.add_json("-object", limit_object(plan));
  to.add_json("-blockdev", drive_backend(plan, *file, path));
  auto device = drive_device(plan, needs_port(plan) ? to.next_port() : "", boot_index);
  if (!device) return tl::unexpected{device.error()};
  to.add_json("-device", *device);
  return {};
}

outcome<void> add_nic(command_line& to, const nic_plan& plan) {
  if (plan.queues.empty())
    return fail(fault::unsupported, "Device \"" + name_of(plan) + "\": virtual machines cannot have such a card");
  std::vector<std::string> numbers;
  for (const auto& queue : plan.queues) {
    unique_fd own{::fcntl(queue->get(), F_DUPFD_CLOEXEC, 0)};
    if (!own) return fail_errno(errno, "Device \"" + name_of(plan) + "\"");
    numbers.push_back(to.give(std::move(own)));
  }
  to.add_json("-netdev", nic_backend_object(plan, numbers));
  to.add_json("-device", nic_device(plan, to.arch().bus, to.next_port()));
  return {};
}

outcome<void> add_changing_devices(command_line& to, const boot_plan& plan, const std::string& seed) {
  auto ports =
      plan.nics.size() + static_cast<size_t>(std::count_if(plan.drives.begin(), plan.drives.end(), needs_port));
  add_ports(to, static_cast<int>(ports) + spare_ports);
  int boot_index = 0;
  for (auto* drive : boot_order(plan.drives))
    if (auto done = add_drive(to, *drive, boot_index++); !done) return done;
  if (!seed.empty()) {
    drive_plan config;
    config.device = "config-drive";
    config.file = seed;
    config.kind = drive_kind::cdrom;
    config.readonly = true;
    config.cache = "writeback";
    if (auto done = add_drive(to, config, std::nullopt); !done) return done;
  }
  for (const auto& nic : plan.nics)
    if (auto done = add_nic(to, nic); !done) return done;
  return {};
}

} // namespace

outcome<uint64_t> machine_memory(const config_map& config, const machine_host& host) {
  auto text = get(config, "limits.memory");
  if (text.empty()) return memory_default;
  auto bytes = lxc::parse_size(text, host.memory);
  if (!bytes) return bytes;
  if (*bytes < memory_min) return fail(fault::invalid, "limits.memory is too little for a virtual machine");
  return *bytes >> 20 << 20;
}

outcome<machine_cpus> machine_processors(const config_map& config, const machine_host& host) {
  auto text = get(config, "limits.cpu");
  if (text.empty()) return machine_cpus{};
  unsigned count = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (problem == std::errc{} && end == text.data() + text.size()) {
    if (count == 0 || count > cpus_max) return fail(fault::invalid, "limits.cpu is not within 1 and 255");
    return machine_cpus{count, ""};
  }
  auto set = lxc::parse_cpu_list(text);
  if (set.empty() || set.size() > cpus_max)
    return fail(fault::invalid, "limits.cpu is neither a number nor a set: " + std::string{text});
  for (int cpu : set)
    if (std::find(host.cpus.begin(), host.cpus.end(), cpu) == host.cpus.end())
      return fail(fault::invalid, "limits.cpu names CPU " + std::to_string(cpu) + ", which this host has not");
  return machine_cpus{static_cast<unsigned>(set.size()), std::string{text}};
}

outcome<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool within = false;
  char quote = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    char c = text[at];
    if (c == '\\' && quote != '\'') {
      if (++at == text.size()) return fail(fault::invalid, "raw.qemu ends within a word");
      word += text[at];
      within = true;
    } else if (quote != 0 ? c == quote : c == '"' || c == '\'') {
      quote = quote != 0 ? '\0' : c;
      within = true;
    } else if (quote == 0 && (c == ' ' || c == '\t' || c == '\n')) {
      if (within) words.push_back(std::move(word));
      word.clear();
      within = false;
    } else {
      word += c;
      within = true;
    }
  }
  if (quote != 0) return fail(fault::invalid, "raw.qemu ends within quotes");
  if (within) words.push_back(std::move(word));
  return words;
}

outcome<machine_command> make_command(const boot_plan& plan, const machine_host& host, machine_ends ends) {
  auto* arch = find_architecture(plan.architecture);
  if (!arch) return fail(fault::unsupported, "There are no virtual machines of architecture " + plan.architecture);
  if (auto good = check(plan); !good) return tl::unexpected{good.error()};
  auto raw = split_words(get(plan.config, "raw.qemu"));
  if (!raw) return tl::unexpected{raw.error()};
  command_line to{*arch, host.first_descriptor};
  to.add("-nodefaults");
  to.add("-no-user-config");
  to.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  to.add("-name", "guest=" + doubled_commas(plan.key) + ",debug-threads=on");
  if (!plan.uuid.empty()) to.add("-uuid", plan.uuid);
  if (auto done = add_machine(to, plan, host); !done) return tl::unexpected{done.error()};
  add_console(to);
  add_fixed_devices(to, ends);
  add_screen(to);
  if (auto done = add_changing_devices(to, plan, ends.seed); !done) return tl::unexpected{done.error()};
  for (auto& word : *raw) to.add(std::move(word));
  return std::move(to.out);
}

} // namespace troupe::qemu
