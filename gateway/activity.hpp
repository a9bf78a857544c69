#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace troupe {

/// What a session has under way that its end would break off. Begun and ended on the session's own thread, asked by
/// any.
class activity {
public:
  /// While it lives, the session is not idle.
  class engagement {
  public:
    explicit engagement(std::shared_ptr<activity> of) : of_{std::move(of)} { ++of_->under_way_; }
    engagement(engagement&&) noexcept = default;
    engagement& operator=(engagement&&) = delete;
    ~engagement() {
      if (!of_) return;
      of_->rested_at_ = now_ms();
      --of_->under_way_;
    }

  private:
    std::shared_ptr<activity> of_;
  };

  bool idle() const { return under_way_ == 0; }
  /// Since when it is, ms of the monotonic clock: since its beginning if nothing was under way yet.
  uint64_t rested_at() const { return rested_at_; }

private:
  static uint64_t now_ms() { // as uv_now
    using namespace std::chrono;
    return static_cast<uint64_t>(duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count());
  }

  std::atomic<size_t> under_way_ = 0;
  std::atomic<uint64_t> rested_at_ = now_ms();
};

} // namespace troupe
