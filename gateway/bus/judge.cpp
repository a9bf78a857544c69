#include "gateway/bus/judge.hpp"

#include "gateway/shared_collection.hpp"

namespace troupe::on_bus {

namespace {

// Of all projects: that of no single one.
std::string project_for(const method_facts& method, const place& at) {
  return method.name == "Bus.allInstances" ? std::string{} : at.project();
}

// A project's handle has no names: it is where it is.
std::vector<std::string> names_for(const method_facts& method, const place& at) {
  return method.name.starts_with("Project.") ? std::vector{at.project()} : at.names;
}

} // namespace

outcome<void> judge(const method_facts& method, const place& at) {
  auto& session = *at.of;
  if (session.trusted && !session.trusted()) return fail(fault::forbidden, "The certificate is not trusted any more");
  if (session.who.level == trust::full) return {};
  if (!method.same_as) return fail(fault::forbidden, "not authorized");
  auto records = session.with.db.read();
  auto names = names_for(method, at);
  if (auto judged = judge_access(session.who, project_for(method, at), *method.same_as, names, records); !judged)
    return judged;
  if (at.through.empty() || method.reads) return {};
  return judge_borrowed(session.who, at.head->project, *method.same_as, names, records);
}

} // namespace troupe::on_bus
