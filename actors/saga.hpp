#pragma once

#include "actors/lifecycle_event.hpp"
#include "actors/project_use.hpp"
#include "actors/services.hpp"

#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace troupe {

/// One act of a saga, as data: `kind` is a row of the step table (steps.cpp), `args` is all that doing and undoing
/// need. Both can be repeated: undoing what was never done succeeds. That is why a saga journals all its steps once,
/// before the first.
struct saga_step {
  std::string kind;
  config_map args;
};

/// A long job. `before` can be undone; `commit` is the one atomic change and its events; `after` can only go forward.
/// A crash before the commit undoes `before`, a crash after it finishes `after`.
struct saga {
  std::string kind;        // "instance.create"
  std::string description; // what `lxc operation list` shows
  std::shared_ptr<const header> head;
  std::vector<std::pair<std::string, std::vector<std::string>>> resources; // "instances" -> URLs
  std::string entity;                                                      // "instance/default/c1": key of the history
  std::string metadata;                                                    // a JSON object or empty
  bool may_cancel = false;
  std::vector<saga_step> before;
  batch commit;
  std::vector<saga_step> after;
  caf::actor owner; // told (operation_ended)
  /// What else must hold and be written for the commit, judged as late as can be; or why not. Asked anew when the
  /// commit was refused because something had changed, so that who changes rules does not make those fail who keep to
  /// them.
  std::function<outcome<batch>(const snapshot& now)> admit;
  std::optional<project_use> claim;    // what the change takes of its project's limits
  std::string claimant;                // "PROJECT/NAME" of the instance it counts for; empty: the entity itself
  std::vector<std::string> at_restart; // config keys that take effect at the next start only; for plans
};

/// To the actor that a step's row names: do it, answer `step_result_ptr`; or undo it, answer unit.
struct step_act {
  std::string operation;
  std::shared_ptr<const header> head;
  saga_step step;
};
struct step_undo {
  std::string operation;
  saga_step step;
};
/// To the same actor while it does the act, when the operation was cancelled: stop soon, and answer the act with
/// fault::cancelled. No answer of its own; only for kinds that can be interrupted.
struct step_interrupt {
  std::string operation;
  saga_step step;
};
/// What a step adds to the saga's commit (behind that: what is committed for it alone), and to the operation's
/// metadata.
struct step_result {
  batch more;
  std::vector<std::pair<std::string, std::string>> metadata; // key -> JSON value
};
using step_result_ptr = std::shared_ptr<const step_result>;

/// A row of the step table: plan, progress, journal and undo all read it.
struct step_kind {
  std::string_view kind;
  role performer;
  std::string_view undo = {}; // what undoing it does, for a person; empty: there is nothing to undo
  bool interruptible = false; // its performer understands step_interrupt
};
/// nullptr: unknown (a journal of a newer daemon).
const step_kind* find_step_kind(std::string_view kind);

/// All kinds of sagas there are; others do not begin.
std::span<const std::string_view> saga_kinds();
bool is_saga_kind(std::string_view kind);

/// The moments of a saga's life at which a crash must do no harm; fault tests stop the daemon at each. A point is
/// "SAGA/MOMENT", of a step "SAGA/STEP/MOMENT".
enum class moment : uint8_t { accepted, begun, acted, committing, committed, undoing, undone, ended };
struct moment_row {
  std::string_view name;
  bool of_step, of_undo;
};
std::span<const moment_row> moments(); // by number

/// From an operation to its owner, after its end was committed.
struct operation_ended {
  std::string id;
  bool succeeded = false;
  error why = {};
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::step_act)
TROUPE_LOCAL_MESSAGE(troupe::step_undo)
TROUPE_LOCAL_MESSAGE(troupe::step_interrupt)
TROUPE_LOCAL_MESSAGE(troupe::step_result_ptr)
TROUPE_LOCAL_MESSAGE(troupe::operation_ended)
