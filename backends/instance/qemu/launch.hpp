#pragma once

#include "backends/instance/qemu/machine_arguments.hpp"
#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <optional>
#include <string>
#include <vector>

namespace troupe::qemu {

struct machine_process {
  pid_t pid = 0;
  uint64_t start = 0; // field 22 of its stat
};

/// The process that a machine's run directory speaks of, if it still runs.
std::optional<machine_process> read_process(const std::string& directory);

/// Which processor: `unsupported` with the reason if KVM cannot be used. Blocks for milliseconds, a second at most.
outcome<void> probe(const std::string& helper);

/// Has QEMU started, confined, by the helper program. It runs when this returns, but may not have read its command line
/// yet; what it prints goes to `output`.
outcome<machine_process> launch(const std::string& helper, bool kvm, const std::vector<std::string>& groups,
                                machine_command command, const std::string& directory, const unique_fd& output);

/// A file in memory that takes so much of what QEMU prints and refuses the rest.
outcome<unique_fd> bounded_output();
std::string read_output(const unique_fd& output);

/// Unix sockets in a directory whose path may be longer than such addresses can be.
outcome<unique_fd> listen_in(const std::string& directory, const char* name);
outcome<unique_fd> connect_in(const std::string& directory, const char* name); // does not block, nor its reads

} // namespace troupe::qemu
