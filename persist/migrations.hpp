#pragma once

#include "persist/transaction.hpp"

namespace troupe {

/// One step of one environment's format: from `from` to `from + 1`. All steps that are due run in one transaction, with
/// the format number. May throw lmdb_failure (the map grows and all is run again) and kj::Exception (fault::corrupt).
struct migration {
  uint32_t from;
  void (*run)(write_txn& txn);
};

/// The formats a daemon writes and how it gets there from older ones.
struct format_history {
  uint32_t cluster = 1;
  uint32_t local = 1;
  std::span<const migration> cluster_steps = {};
  std::span<const migration> local_steps = {};
};

/// This daemon's own.
const format_history& built_in_formats();

/// fault::newer_format, or fault::corrupt if a step is missing; nothing is touched.
outcome<void> check_format(const std::string& path, uint32_t found, uint32_t wanted, std::span<const migration> steps);

/// Brings a checked environment to `wanted`.
outcome<void> migrate(environment& env, uint32_t wanted, std::span<const migration> steps);

} // namespace troupe
