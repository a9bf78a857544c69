#include "actors/instance_admission.hpp"

#include "actors/policy.hpp"
#include "actors/project_keys.hpp"

namespace troupe {

outcome<project_use> judge_draft(const snapshot& records, const instance_draft& draft) {
  auto effective = expand(records, draft.project, draft.profiles, draft.config, draft.devices);
  if (auto good = check_expanded(records, draft.project, draft.type, effective); !good)
    return tl::unexpected{good.error()};
  auto rules = project_config(records, draft.project);
  if (auto good = judge(draft.project, rules, effective); !good) return tl::unexpected{good.error()};
  return use_of(draft.project, rules, draft.type, effective);
}

outcome<batch> admit_draft(const snapshot& records, const instance_draft& draft,
                           const std::optional<project_use>& granted) {
  auto use = judge_draft(records, draft);
  if (!use) return tl::unexpected{use.error()};
  bool more = is_limited(project_config(records, draft.project)) && (!granted || larger(*granted, *use) != *granted);
  if (more) return fail(fault::busy, "The project's limits or profiles have changed meanwhile; try again");
  batch marks;
  enter_project(marks, records, draft.project);
  return marks;
}

} // namespace troupe
