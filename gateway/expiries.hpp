#pragma once

#include "runtime/loop.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace troupe {

/// Names, each with the time of day at which it ends. The nearest is waited for by one timer, which also keeps its time
/// when the clock is set. Any thread, except where said.
class expiries {
public:
  /// `ended(name)` runs on the loop's thread.
  expiries(loop& on, std::function<void(const std::string& name)> ended);
  /// Not on the loop's thread: nothing is called any more when it returns.
  ~expiries();

  /// `at`: seconds since 1970. Of several the latest counts.
  void set(const std::string& name, int64_t at);

private:
  struct data;
  std::unique_ptr<data> data_;
};

} // namespace troupe
