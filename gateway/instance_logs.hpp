#pragma once

#include "actors/services.hpp"
#include "messages/unique_fd.hpp"

#include <string>
#include <vector>

namespace troupe {

/// The log files of an instance, all in its folder below logs/: what liblxc wrote, and what commands said
/// (`exec-output/`). Removed with the instance. Calls block.
class instance_logs {
public:
  instance_logs(const services& with, const std::string& project, const std::string& name);

  /// Of the folder itself, or of the recordings.
  enum class kind : uint8_t { log, exec_output };
  outcome<std::vector<std::string>> list(kind which) const;
  struct file {
    unique_fd content;
    uint64_t size = 0;
  };
  /// fault::invalid: no log has such a name; not_found.
  outcome<file> open(kind which, const std::string& name) const;
  /// fault::forbidden: liblxc's present log and configuration stay.
  outcome<void> remove(kind which, const std::string& name) const;
  /// What is recorded of one output; the rest of it is thrown away: a command must not fill the host's disk.
  static constexpr uint64_t recording_bytes_max = 64 << 20;
  /// A new recording, for writing; it counts as one that grows until this descriptor is closed. The oldest that are
  /// complete go when there are too many. fault::busy: too many are being made.
  outcome<unique_fd> record(const std::string& name) const;

private:
  std::string folder(kind which) const;

  std::string root_;
};

} // namespace troupe
