#include "gateway/event_scope.hpp"

#include "messages/rights.hpp"

#include <algorithm>

namespace troupe {

namespace {

std::string_view project_of(std::string_view word) { return word == "_" ? std::string_view{} : word; }

bool sees_server_events(const principal& who) { return who.may("can_view_privileged_events", the_server()); }

} // namespace

bool may_follow(const principal& who, std::string_view project) {
  return project.empty() ? sees_server_events(who) : who.may("can_view_events", the_project(project));
}

std::vector<std::string> usual_subjects(const principal& who, const std::string& project) {
  if (!sees_server_events(who)) return {project + ".>"};
  return {project + ".>", "_.>"};
}

outcome<void> judge_event_scope(const principal& who, bool durable, const std::vector<std::string>& subjects) {
  if (who.level == trust::full) return {};
  bool own = !durable && !subjects.empty() && std::all_of(subjects.begin(), subjects.end(), [&](auto& subject) {
    auto dot = subject.find('.');
    if (dot == subject.npos) return false;
    auto word = std::string_view{subject}.substr(0, dot);
    return may_follow(who, project_of(word)) && (word != "*" || sees_server_events(who)); // which is "_", too
  });
  if (own) return {};
  return fail(fault::forbidden, "You can follow the events of your projects only");
}

} // namespace troupe
