#include "gateway/bus/judge.hpp"

#include "gateway/shared_collection.hpp"

namespace troupe::on_bus {

outcome<void> judge(const method_facts& method, const place& at) {
  auto& session = *at.of;
  if (session.trusted && !session.trusted()) return fail(fault::forbidden, "The certificate is not trusted any more");
  if (session.who.level == trust::full) return {};
  if (!method.same_as) return fail(fault::forbidden, "not authorized");
  if (auto judged = judge_access(session.who, at.project(), *method.same_as); !judged) return judged;
  if (at.through.empty()) return {};
  return judge_borrowed(session.who, at.head->project, method.reads);
}

} // namespace troupe::on_bus
