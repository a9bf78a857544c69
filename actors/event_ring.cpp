#include "actors/event_ring.hpp"

namespace troupe {

void event_ring::append(const message<schema::Event>& event) {
  event.read([&](schema::Event::Reader e) {
    if (e.getSeq() <= last_) return;
    if (e.getSeq() != last_ + 1) skip_to(e.getSeq() - 1);
    last_ = e.getSeq();
    entries_.push_back({event, facts_of(e)});
    bytes_ += event.bytes().size();
  });
  while (entries_.size() > count_max_ || (bytes_ > bytes_max_ && entries_.size() > 1)) {
    bytes_ -= entries_.front().event.bytes().size();
    entries_.pop_front();
  }
}

void event_ring::skip_to(uint64_t last) {
  entries_.clear();
  bytes_ = 0;
  last_ = last;
}

const event_ring::entry* event_ring::find(uint64_t seq) const {
  uint64_t first = last_ + 1 - entries_.size();
  return seq < first || seq > last_ ? nullptr : &entries_[seq - first];
}

} // namespace troupe
