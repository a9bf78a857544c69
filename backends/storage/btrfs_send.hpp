#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>
#include <sys/types.h>

namespace troupe {

/// Writes the stream of a read-only subvolume into the empty file `into`; with a `parent`, what it has besides that.
/// fault::unsupported where a guest has made subvolumes inside: a stream holds one only; and for a virtual machine.
outcome<void> send_subvolume(const std::string& path, const std::string& parent, const unique_fd& into);

/// The same into a pipe, by a process that goes on meanwhile and ends with this object.
class sending_subvolume {
public:
  static outcome<sending_subvolume> begin(const std::string& path, const std::string& parent);
  sending_subvolume(sending_subvolume&& other) noexcept;
  sending_subvolume& operator=(sending_subvolume&&) = delete;
  ~sending_subvolume();
  int output() const noexcept { return output_.get(); }
  /// Behind the end of the output: whether that was all.
  outcome<void> finish();

private:
  sending_subvolume() = default;
  pid_t pid_ = -1;
  unique_fd output_, complaints_;
};

/// Its UUID, as btrfs-progs write it.
outcome<std::string> subvolume_uuid(const std::string& path);

} // namespace troupe
