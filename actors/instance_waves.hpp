#pragma once

#include "actors/records.hpp"

#include <chrono>
#include <set>
#include <string>
#include <vector>

namespace troupe {

/// Instances that start or stop at the same time, with what each may take to stop.
struct wave {
  int64_t priority = 0;
  std::vector<std::pair<std::string, std::chrono::seconds>> members; // PROJECT/NAME
  std::chrono::seconds pause{0};                                     // before the next one
};

/// Who shall run now that the daemon has begun: boot.autostart says so, or it is not set and `ran` has it. The highest
/// boot.autostart.priority comes first.
std::vector<wave> waves_to_start(const snapshot& records, const std::set<std::string>& ran);
/// Who runs, in the order in which they stop when the host goes down.
std::vector<wave> waves_to_stop(const snapshot& records);

/// The host's boot: processes of another one are gone.
const std::string& boot_id();
/// Those that ran when the host went down without a word.
std::set<std::string> cut_off(const snapshot& records);

} // namespace troupe
