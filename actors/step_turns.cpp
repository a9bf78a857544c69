#include "actors/step_turns.hpp"

#include <utility>

namespace troupe {

step_turns::turn step_turns::make(const std::string& operation) {
  auto marker = reinterpret_cast<void*>(this); // never used: only its deleter matters
  return {marker, [all = shared_from_this(), operation](void*) { all->pass_on(operation); }};
}

step_turns::turn step_turns::take(const std::string& operation, std::function<void(turn)> later) {
  std::lock_guard lock{guard_};
  auto [at, mine] = waiting_.try_emplace(operation);
  if (mine) return make(operation);
  at->second.push_back(std::move(later));
  return nullptr;
}

void step_turns::pass_on(const std::string& operation) {
  std::function<void(turn)> next;
  {
    std::lock_guard lock{guard_};
    auto at = waiting_.find(operation);
    if (at->second.empty()) {
      waiting_.erase(at);
      return;
    }
    next = std::move(at->second.front());
    at->second.pop_front();
  }
  next(make(operation));
}

} // namespace troupe
