#pragma once

#include <array>
#include <cstdint>

namespace troupe {

/// Time-outs of many connections with one coarse clock: a wheel of one-second slots. Moving a deadline further away
/// (what every request does) only stores a number; the entry is looked at again when its old slot comes by.
/// Loop's thread only. Times are in milliseconds of the loop's clock.
class http_deadlines {
  struct link {
    link* before = this;
    link* after = this;
    bool linked() const noexcept { return after != this; }
    void leave() noexcept;
    void join(link& list) noexcept;
  };

public:
  static constexpr uint64_t never = UINT64_MAX;

  class entry : link {
  public:
    entry() = default;
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;

  protected:
    virtual ~entry() { leave(); }
    virtual void deadline_passed() = 0; // may destroy any entry

  private:
    friend class http_deadlines;
    uint64_t due_ = never;
    uint64_t slot_ = 0; // the second at which it is looked at
  };

  void set(entry& of, uint64_t due_ms, uint64_t now_ms) noexcept;
  /// Calls everything due. Call it about once a second.
  void tick(uint64_t now_ms);

private:
  static constexpr uint64_t slots_max = 512;
  std::array<link, slots_max> slots_;
  uint64_t looked_at_ = 0; // the last second ticked
};

} // namespace troupe
