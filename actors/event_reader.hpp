#pragma once

#include "actors/event_replay.hpp"
#include "actors/event_ring.hpp"

#include <deque>

namespace troupe {

/// One subscriber as the events actor sees it: how far it has got, and what it may be told now. One thread.
class event_reader {
public:
  struct origin {
    uint32_t epoch = 0;
    std::string member;
  };
  enum class need : uint8_t { nothing, turn, disk }; // what brings it on: credits or events; another turn; a portion

  /// Behind `next - 1`. `lost`: its cursor was of another log, so that the first thing it is told is that gap.
  event_reader(event_matcher wanted, std::function<void(const delivery&)> deliver, uint64_t next, bool lost);
  void begin_with(snapshot_rows rows);

  void grant(uint32_t credits);
  /// Tells what memory has, as far as credits and one fair turn go.
  need advance(const event_ring& ring, const origin& log);
  /// What `replay` found for it, called with `next()` and no more than `credits()`.
  void take(replay_portion portion, const origin& log);
  /// A log line: told if the reader keeps up, else lost, as it is stored nowhere.
  void tell_line(const message<schema::Event>& line, const event_facts& facts, const event_ring& ring,
                 const origin& log);
  /// Some time has passed: a reader that was told nothing meanwhile learns how far it is.
  void tell_idle(const event_ring& ring, const origin& log);

  const std::shared_ptr<const event_matcher>& wanted() const { return wanted_; }
  uint64_t next() const { return next_; }
  uint32_t credits() const { return credits_; }
  uint64_t told() const { return told_; } // highest number it has had
  size_t rows_bytes() const { return rows_.bytes; }

private:
  void tell(delivery what, const origin& log, uint64_t seq);
  bool tell_rows(const origin& log);
  void tell_position(const origin& log);

  std::shared_ptr<const event_matcher> wanted_;
  std::function<void(const delivery&)> deliver_;
  uint32_t credits_ = 0;
  uint64_t next_;
  uint64_t told_ = 0;
  bool lost_;
  bool greeted_ = false; // it was told once that it has caught up
  bool idle_ = false;
  bool has_rows_ = false;
  size_t row_ = 0;
  snapshot_rows rows_;
};

} // namespace troupe
