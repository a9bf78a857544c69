#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::lxc {

/// The last of what a command has said while nobody listened. It takes memory only as it is filled.
class output_ring {
public:
  static constexpr size_t bytes_max = 1 << 20;

  void put(std::string_view bytes) {
    kept_ += bytes;
    if (kept_.size() > 2 * bytes_max) trim(); // now and then: each byte is moved once at most
  }
  std::string_view get() {
    trim();
    return kept_;
  }
  uint64_t lost() const { return lost_; }
  void clear() {
    kept_ = {};
    lost_ = 0;
  }

private:
  void trim() {
    if (kept_.size() <= bytes_max) return;
    lost_ += kept_.size() - bytes_max;
    kept_.erase(0, kept_.size() - bytes_max);
  }

  std::string kept_;
  uint64_t lost_ = 0;
};

} // namespace troupe::lxc
