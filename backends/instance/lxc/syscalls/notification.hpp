#pragma once

#include "messages/unique_fd.hpp"

#include <cstdint>
#include <linux/seccomp.h>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe::syscalls {

/// How liblxc's monitor passes a notification on, and gets its answer: this head, the kernel's notification and answer,
/// and the cookie of the container's configuration, in one packet; with descriptors of /proc/PID of the caller, of its
/// memory, and of the notifier.
struct packet_head {
  uint64_t reserved = 0;
  pid_t monitor = 0, leader = 0;
  struct {
    uint16_t notification = 0, answer = 0, data = 0;
  } sizes;
  uint64_t cookie_length = 0;
};

/// One system call that waits. Whatever is read of its caller is true only if `is_valid` says so afterwards: until then
/// the process may have died, and its number may be another's.
struct notification {
  packet_head head;
  std::vector<char> bytes; // the whole packet
  seccomp_notif call{};
  std::string cookie;
  unique_fd process, memory, notifier;

  bool is_valid() const;
  /// A text of the caller's memory, at most `max` bytes with its end; nullopt: it cannot be read.
  std::optional<std::string> text_at(uint64_t address, size_t max) const;
  std::optional<std::string> bytes_at(uint64_t address, size_t count) const;
  bool write_at(uint64_t address, const void* from, size_t count) const;
  /// A small file below /proc/PID of the caller.
  std::string file(const char* name) const;
  unique_fd open(const char* name, int flags) const;
};

/// nullopt: the monitor has gone, or it says something else.
std::optional<notification> receive(int monitor);

/// What the caller gets: a value, an error, or its own call done by the kernel with its own rights.
struct verdict {
  int error = 0; // errno
  int64_t value = 0;
  bool go_on = true;
};
constexpr verdict on_its_own{};
constexpr verdict done_with(int error) { return {error, 0, false}; }
bool answer(int monitor, notification& to, const verdict& what);

} // namespace troupe::syscalls
