#pragma once

#include "backends/instance/instance_driver.hpp"
#include "backends/instance/qemu/architectures.hpp"

#include <string>
#include <vector>

namespace troupe::qemu {

/// What the host and the driver bring to a machine.
struct machine_host {
  bool kvm = false;
  uint64_t memory = 0;         // bytes, for percentages
  std::vector<int> cpus;       // online ones
  std::string firmware_folder; // instead of the architecture's own
  int first_descriptor = 0;    // number of the first one that QEMU gets
};

/// The sockets on which QEMU listens, and the config drive; empty: there is none.
struct machine_ends {
  unique_fd qmp, agent;
  std::string seed;
};

/// QEMU's command line, and the descriptors it speaks of: the first is `first_descriptor` there, and so on.
struct machine_command {
  std::vector<std::string> words; // the program is the first
  std::vector<unique_fd> descriptors;
};

/// The whole machine as data. Opens its drives and makes the variables of its firmware if there are none for this
/// choice of secure boot. `invalid`, `unsupported`: the plan cannot be had, by the sentence.
outcome<machine_command> make_command(const boot_plan& plan, const machine_host& host, machine_ends ends);

/// limits.memory in bytes, by default 1 GiB; limits.cpu as a number of CPUs, by default 1.
outcome<uint64_t> machine_memory(const config_map& config, const machine_host& host);
struct machine_cpus {
  unsigned count = 1;
  std::string pinned; // a set of the host's, or empty
};
outcome<machine_cpus> machine_processors(const config_map& config, const machine_host& host);

/// Ports that are free for hot-plug in a fresh machine.
constexpr int spare_ports = 8;
constexpr const char* port_prefix = "port";
inline std::string port_name(int number) { return port_prefix + std::to_string(number); }

/// raw.qemu as words: blanks part them, quotes and backslashes keep them together, nothing else is special.
outcome<std::vector<std::string>> split_words(std::string_view text);

} // namespace troupe::qemu
