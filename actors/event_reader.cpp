#include "actors/event_reader.hpp"

namespace troupe {

namespace {
constexpr size_t turn_max = 512; // events of one turn, so that one reader does not keep the others waiting
} // namespace

event_reader::event_reader(event_matcher wanted, std::function<void(const delivery&)> deliver, uint64_t next, bool lost)
    : wanted_{std::make_shared<const event_matcher>(std::move(wanted))}, deliver_{std::move(deliver)}, next_{next},
      lost_{lost} {}

void event_reader::begin_with(snapshot_rows rows) {
  rows_ = std::move(rows);
  next_ = rows_.last_seq + 1;
  has_rows_ = greeted_ = true;
}

void event_reader::grant(uint32_t credits) {
  credits_ = credits > UINT32_MAX - credits_ ? UINT32_MAX : credits_ + credits;
}

void event_reader::tell(delivery what, const origin& log, uint64_t seq) {
  what.at = {log.epoch, log.member, seq};
  if (what.what != delivery::kind::snapshot) told_ = std::max(told_, seq);
  --credits_;
  idle_ = false;
  deliver_(what);
}

bool event_reader::tell_rows(const origin& log) {
  for (; credits_ > 0 && row_ < rows_.rows.size(); ++row_) {
    auto row = std::exchange(rows_.rows[row_], {});
    rows_.bytes -= row.bytes().size();
    tell({delivery::kind::snapshot, std::move(row), {}}, log, rows_.last_seq);
  }
  if (credits_ == 0) return false;
  tell({delivery::kind::marker, {}, {}}, log, rows_.last_seq);
  rows_ = {};
  has_rows_ = false;
  return true;
}

void event_reader::tell_position(const origin& log) {
  greeted_ = true;
  tell({delivery::kind::bookmark, {}, {}}, log, next_ - 1);
}

event_reader::need event_reader::advance(const event_ring& ring, const origin& log) {
  if (credits_ == 0 || (has_rows_ && !tell_rows(log)) || credits_ == 0) return need::nothing;
  if (lost_) {
    lost_ = false;
    tell({delivery::kind::gap, {}, {}, 0, next_ - 1}, log, next_ - 1);
  }
  for (size_t turn = 0; credits_ > 0 && next_ <= ring.last(); ++turn) {
    auto* entry = ring.find(next_);
    if (!entry) return need::disk;
    if (turn == turn_max) return need::turn;
    auto seq = next_++;
    if (wanted_->matches(entry->facts)) tell({delivery::kind::event, entry->event, {}}, log, seq);
  }
  if (credits_ > 0 && !greeted_) tell_position(log);
  return need::nothing;
}

void event_reader::take(replay_portion portion, const origin& log) {
  next_ = portion.next;
  for (auto& one : portion.found) {
    auto seq = one.at.seq;
    tell(std::move(one), log, seq);
  }
}

void event_reader::tell_line(const message<schema::Event>& line, const event_facts& facts, const event_ring& ring,
                             const origin& log) {
  if (credits_ == 0 || has_rows_ || lost_ || next_ <= ring.last() || !wanted_->matches(facts)) return;
  tell({delivery::kind::event, line, {}}, log, next_ - 1);
}

void event_reader::tell_idle(const event_ring& ring, const origin& log) {
  bool current = !has_rows_ && !lost_ && next_ > ring.last() && next_ - 1 > told_;
  if (std::exchange(idle_, true) && current && credits_ > 0) tell_position(log);
}

} // namespace troupe
