#pragma once

#include "actors/event_filter.hpp"
#include "messages/message.hpp"

#include <deque>

namespace troupe {

/// The newest events in memory, dense, so that readers who keep up never touch the disk. Bounded by count and bytes,
/// whatever the readers do. One thread.
class event_ring {
public:
  struct entry {
    message<schema::Event> event;
    event_facts facts;
  };

  explicit event_ring(uint64_t last, size_t count_max = 4096, size_t bytes_max = 8 << 20)
      : last_{last}, count_max_{count_max}, bytes_max_{bytes_max} {}

  /// Events come in order; one that is known is ignored. After a hole only what follows it is kept.
  void append(const message<schema::Event>& event);
  /// Everything up to and with `last` is on disk only.
  void skip_to(uint64_t last);

  uint64_t last() const { return last_; }
  /// Null: not in memory.
  const entry* find(uint64_t seq) const;

private:
  std::deque<entry> entries_; // the last of them is number last_
  size_t bytes_ = 0;
  uint64_t last_;
  size_t count_max_, bytes_max_;
};

} // namespace troupe
