#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <string>

namespace troupe::unpack {

// Where qemu-img and its files are in its own root.
inline constexpr const char* converter_path = "/usr/bin/qemu-img";
inline constexpr const char* source_path = "/source";
inline constexpr const char* target_path = "/target";

/// Leaves nothing but qemu-img, the libraries that it needs, /dev/null and two files: `source` to read from, `target`
/// to write to, `bytes_max` bytes at most. In own mount, network, ipc, uts and cgroup namespaces the root is a
/// read-only tmpfs with these; no capability at all, an id that no other process has, a list of allowed system calls,
/// limits of memory and time. A program executed behind it keeps this. Nothing hostile may be read before.
///
/// Both files are opened by name in there, and by nothing but the rights of root's group; so that they must have them.
outcome<void> confine_converter(unique_fd source, unique_fd target, uint64_t bytes_max);

/// The list of allowed system calls of a program that has threads; everything else answers EPERM.
outcome<void> allow_program_calls_only();

} // namespace troupe::unpack
