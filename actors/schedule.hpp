#pragma once

#include "messages/error.hpp"

#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace troupe {

/// When something is due, as `snapshots.schedule` says: one cron line ("30 6 * * mon-fri": minute, hour, day of the
/// month, month, day of the week; lists, ranges, steps, English names) or aliases with commas between them (@hourly,
/// @daily, @midnight, @weekly, @monthly, @annually, @yearly, @startup, @never). Local time. A value; any thread.
class schedule {
public:
  static outcome<schedule> parse(std::string_view text); // fault::invalid; empty: never
  /// The first moment behind that one, both in seconds since the epoch; none within five years: never.
  std::optional<int64_t> next_after(int64_t seconds) const;
  /// "@startup": whenever the thing itself starts.
  bool at_startup() const noexcept { return at_startup_; }

private:
  struct line {
    std::bitset<60> minutes;
    std::bitset<24> hours;
    std::bitset<32> days;
    std::bitset<13> months;
    std::bitset<8> weekdays;
    bool any_day = false, any_weekday = false; // with both given, either of them will do
  };
  static outcome<line> parse_line(std::string_view text);
  static std::optional<int64_t> next_of(const line& when, int64_t seconds);

  std::vector<line> lines_;
  bool at_startup_ = false;
};

} // namespace troupe
