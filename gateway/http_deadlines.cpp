#include "gateway/http_deadlines.hpp"

#include <algorithm>

namespace troupe {

void http_deadlines::link::leave() noexcept {
  before->after = after;
  after->before = before;
  before = after = this;
}

void http_deadlines::link::join(link& list) noexcept {
  before = list.before;
  after = &list;
  before->after = this;
  list.before = this;
}

void http_deadlines::set(entry& of, uint64_t due_ms, uint64_t now_ms) noexcept {
  of.due_ = due_ms;
  if (due_ms == never) return;
  auto first = std::max(looked_at_, now_ms / 1000) + 1;
  auto slot = std::clamp(due_ms / 1000 + 1, first, first + slots_max - 2);
  if (of.linked() && of.slot_ <= slot) return;
  of.leave();
  of.slot_ = slot;
  of.join(slots_[slot % slots_max]);
}

void http_deadlines::tick(uint64_t now_ms) {
  auto now = now_ms / 1000;
  if (looked_at_ + slots_max < now) looked_at_ = now - slots_max; // one round sees every slot
  while (looked_at_ < now) {
    ++looked_at_;
    link due; // taken out first: what is set while we call lands in a later slot
    auto& slot = slots_[looked_at_ % slots_max];
    if (!slot.linked()) continue;
    due.join(slot);
    slot.leave();
    while (due.linked()) {
      auto& next = static_cast<entry&>(*due.after);
      next.leave();
      if (next.due_ == never) continue;
      if (next.due_ <= now_ms) {
        next.due_ = never;
        next.deadline_passed();
      } else {
        set(next, next.due_, now_ms);
      }
    }
  }
}

} // namespace troupe
