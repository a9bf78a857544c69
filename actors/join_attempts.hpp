#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>

namespace troupe {

/// Wrong secrets by host, so that nobody can try many. A pure value: whoever asks tells the time.
class join_attempts {
public:
  using time = std::chrono::steady_clock::time_point;
  static constexpr int wrong_max = 5; // then the host waits until the window is over
  static constexpr std::chrono::seconds window{60};
  static constexpr size_t hosts_max = 4096; // remembered; beyond, everybody waits

  bool may_try(const std::string& address, time now);
  void was_wrong(const std::string& address, time now);

private:
  struct entry {
    int wrong = 0;
    time until{};
  };
  void forget_old(time now);

  std::map<std::string, entry> hosts_;
};

} // namespace troupe
