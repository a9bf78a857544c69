#include "gateway/event_scope.hpp"

#include <algorithm>

namespace troupe {

std::vector<std::string> usual_subjects(const principal& who, const std::string& project) {
  if (who.level != trust::full) return {project + ".>"};
  return {project + ".>", "_.>"};
}

outcome<void> judge_event_scope(const principal& who, bool durable, const std::vector<std::string>& subjects) {
  if (who.level == trust::full) return {};
  bool own = !durable && !subjects.empty() && std::all_of(subjects.begin(), subjects.end(), [&](auto& subject) {
    auto dot = subject.find('.');
    return dot != subject.npos && who.may_see(subject.substr(0, dot));
  });
  if (own) return {};
  return fail(fault::forbidden, "A restricted client can follow the events of its projects only");
}

} // namespace troupe
