#pragma once

#include "messages/error.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace troupe {

/// What a qcow2 disk says of itself.
struct qcow2_facts {
  uint64_t size = 0; // bytes that a machine sees
  uint32_t version = 0;
};

/// How many bytes from the start of a disk `read_qcow2_header` wants to see.
inline constexpr size_t qcow2_head_size = 112;

bool is_qcow2(std::string_view head) noexcept;

/// Refuses every disk that is more than one whole file of a size that is allowed: one that builds on a backing file,
/// keeps its data elsewhere, is encrypted, newer than we know, cut short, or says things that cannot be. Snapshots
/// inside are ignored. Pure.
/// `file_size`: of the whole disk file; `size_max`: bytes that a machine may see (`too_large`).
outcome<qcow2_facts> read_qcow2_header(std::string_view head, uint64_t file_size, uint64_t size_max);

/// The disk of a unified image: qcow2 if it begins like one, else raw.
struct disk_facts {
  bool qcow2 = false;
  uint64_t size = 0; // bytes that a machine sees
};
outcome<disk_facts> judge_disk(std::string_view head, uint64_t file_size, uint64_t size_max);

} // namespace troupe
