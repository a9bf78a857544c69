#include "actors/event_cause.hpp"
#include "actors/operation_record.hpp"
#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/store_actor.hpp"

#include <caf/event_based_actor.hpp>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using state = schema::Operation::State;
using effect = schema::CancelEffect;
using step_state = schema::Step::State;

constexpr int64_t show_every = 500'000'000; // ns; progress in between is known to who asks, but is no event

constexpr unsigned tries_max = 6;
constexpr std::chrono::milliseconds first_pause{20}; // doubled with every try

constexpr unsigned admissions_max = 16;

enum class phase : uint8_t { before, committing, undoing, after };

struct operation_data {
  services& with;
  caf::event_based_actor* self;
  operation_record record;
  std::shared_ptr<const header> head;
  std::vector<saga_step> before, after;
  batch commit;
  caf::actor owner;
  bool may_cancel = false;
  std::function<outcome<batch>(const snapshot&)> admit = {};
  unsigned admissions = 0;    // asked for
  sure_promise accepted = {}; // the 202, pending until the journal has us
  phase now = phase::before;
  size_t at = 0; // the step that runs
  bool cancel_asked = false, something_left = false;
  int64_t shown_at = 0;
  unsigned tries_in_a_row = 0; // of a step whose performer failed at it
};
using data_ptr = std::shared_ptr<operation_data>;

void run_before(data_ptr op, size_t step);
void run_after(data_ptr op, size_t step);
void begin_undo(data_ptr op, size_t steps, error why, state how);

using on_error = std::function<void(error)>;

void put_on_disk(const data_ptr& op, batch what, std::function<void()> then, on_error otherwise) {
  mark_cause(what, id_of(op->record));
  commit(op->self, op->with, std::move(what),
         [then, otherwise](const outcome<void>& done) { done ? then() : otherwise(done.error()); });
}

// The saga's commit with what is judged now.
outcome<batch> admitted(const data_ptr& op) {
  auto out = op->commit;
  if (!op->admit) return out;
  ++op->admissions;
  auto marks = op->admit(op->with.db.read());
  if (!marks) return tl::unexpected{marks.error()};
  out.conditions.insert(out.conditions.end(), marks->conditions.begin(), marks->conditions.end());
  out.writes.insert(out.writes.end(), marks->writes.begin(), marks->writes.end());
  return out;
}

// Something that the judgement saw was changed before the commit came through.
bool judge_again(const operation_data& op, const error& why) {
  return why.code == fault::precondition && op.admit && op.admissions < admissions_max;
}

caf::actor performer_of(const data_ptr& op, const saga_step& step) {
  return op->with.find(find_step_kind(step.kind)->performer);
}

void perform(const data_ptr& op, const saga_step& step, std::function<void(const step_result&)> then,
             on_error otherwise) {
  ask<step_result_ptr>(
      op->self, performer_of(op, step), step_act{id_of(op->record), op->head, step},
      [then, otherwise](const outcome<step_result_ptr>& done) { done ? then(**done) : otherwise(done.error()); });
}

void take_back(const data_ptr& op, const saga_step& step, std::function<void()> then, on_error otherwise) {
  ask<void>(op->self, performer_of(op, step), step_undo{id_of(op->record), step},
            [then, otherwise](const outcome<void>& done) { done ? then() : otherwise(done.error()); });
}

// Where fault tests stop the daemon, or have a step fail. True: what was to be done here fails.
bool fails_at(const data_ptr& op, moment when, const saga_step* step = nullptr) {
  if (!op->with.faults) return false;
  auto point = op->record.read([](schema::Operation::Reader record) { return text(record.getKind()); }) + "/";
  if (step) point += step->kind + "/";
  point += moments()[static_cast<size_t>(when)].name;
  return op->with.faults->reach(point) == fault_points::effect::fail;
}

const error fault_on_purpose{fault::backend_failed, "This step was made to fail"};

condition journal_says(const data_ptr& op, std::string_view phase) {
  return {table::journal, id_of(op->record), std::string{phase}};
}

void count(const data_ptr& op, bool succeeded) {
  op->record.read([&](schema::Operation::Reader record) {
    auto seconds = static_cast<double>(now_ns() - record.getCreatedAt()) / 1e9;
    op->with.counted->operation_ended(text(record.getKind()), succeeded, seconds);
  });
}

void leave(data_ptr op, bool succeeded, error why) {
  count(op, succeeded);
  op->self->send(op->with.find(role::operations), operation_over{op->record});
  if (op->owner) op->self->send(op->owner, operation_ended{id_of(op->record), succeeded, std::move(why)});
  op->self->quit();
}

void end(data_ptr op, state how, std::string_view journal, error why) {
  auto ended = in_state(op->record, how, how == state::SUCCEEDED ? nullptr : &why);
  batch last;
  add_writes(last, ended, journal);
  last.events.push_back(operation_event(ended));
  auto done = [op, how, why, ended] {
    fails_at(op, moment::ended);
    op->record = ended;
    leave(op, how == state::SUCCEEDED, why);
  };
  put_on_disk(op, std::move(last), done, [op, done](const error& disk) {
    log().error("The end of operation {} could not be recorded: {}", id_of(op->record), disk.message);
    done();
  });
}

void show_now_and_then(const data_ptr& op) {
  auto now = now_ns();
  if (now - op->shown_at < show_every) return;
  op->shown_at = now;
  batch seen;
  seen.writes.push_back(put(table::operations, id_of(op->record), op->record));
  seen.events.push_back(operation_event(op->record));
  propose_quietly(op->self, op->with, std::move(seen));
}

// ---- forward

effect cancel_effect(const operation_data& op) {
  if (!op.may_cancel || op.now != phase::before || op.cancel_asked || op.at >= op.before.size()) return effect::NO;
  if (!find_step_kind(op.before[op.at].kind)->interruptible) return effect::AFTER_STEP;
  return op.at == 0 ? effect::NOW : effect::WILL_UNDO;
}

// From here on there is no way back by a cancel; who else may undo this operation is decided by the journal.
void commit_now(data_ptr op) {
  op->now = phase::committing;
  op->record = with_cancel(op->record, effect::NO);
  bool over = op->after.empty();
  auto next = over ? in_state(op->record, state::SUCCEEDED) : op->record;
  auto change = admitted(op);
  if (!change) return begin_undo(op, op->before.size(), change.error(), state::ROLLED_BACK);
  change->conditions.push_back(journal_says(op, journal_running));
  add_writes(*change, next, over ? std::string_view{} : journal_committed);
  if (over) change->events.push_back(operation_event(next));
  if (fails_at(op, moment::committing)) return begin_undo(op, op->before.size(), fault_on_purpose, state::ROLLED_BACK);
  put_on_disk(
      op, std::move(*change),
      [op, over, next] { // not earlier: who looks meanwhile must not be told of a success that is not on disk
        fails_at(op, moment::committed);
        op->record = next;
        over ? leave(op, true, {}) : run_after(op, 0);
      },
      [op](error why) {
        if (judge_again(*op, why)) return commit_now(op);
        begin_undo(op, op->before.size(), std::move(why), state::ROLLED_BACK);
      });
}

void take_result(const data_ptr& op, const step_result& result) {
  auto& more = result.more;
  op->commit.conditions.insert(op->commit.conditions.end(), more.conditions.begin(), more.conditions.end());
  op->commit.writes.insert(op->commit.writes.end(), more.writes.begin(), more.writes.end());
  op->commit.events.insert(op->commit.events.end(), more.events.begin(), more.events.end());
  op->record = with_metadata(op->record, result.metadata);
}

void run_before(data_ptr op, size_t step) {
  op->at = step;
  if (op->cancel_asked)
    return begin_undo(op, step, {fault::cancelled, "The operation was cancelled"}, state::CANCELLED);
  if (step == op->before.size()) return commit_now(op);
  op->record = with_cancel(with_step(op->record, step, step_state::RUNNING), cancel_effect(*op));
  if (step > 0) show_now_and_then(op);
  fails_at(op, moment::begun, &op->before[step]);
  auto failed = [op, step](error why) {
    op->record = with_step(op->record, step, step_state::FAILED, why.message);
    begin_undo(op, step + 1, std::move(why), op->cancel_asked ? state::CANCELLED : state::FAILED);
  };
  perform(
      op, op->before[step],
      [op, step, failed](const step_result& result) {
        if (fails_at(op, moment::acted, &op->before[step])) return failed(fault_on_purpose);
        op->record = with_step(op->record, step, step_state::DONE);
        take_result(op, result);
        run_before(op, step + 1);
      },
      failed);
}

// A performer that failed at its work is there again in a moment, and steps can be repeated: so it is asked again.
// After a number of tries in a row it counts as a failure like any other. True: it will be asked again.
bool ask_again(const data_ptr& op, const error& why, std::function<void()> again) {
  if (why.code != fault::busy || op->tries_in_a_row == tries_max) return false;
  op->self->delayed_send(op->self, first_pause * (1 << op->tries_in_a_row++), resume{std::move(again)});
  return true;
}

// Committed, but not complete. The journal keeps it: the rest is tried again, see operations.cpp.
void leave(const data_ptr& op, size_t row, error why) {
  for (auto left = row; left < op->before.size() + op->after.size(); ++left)
    op->record = with_step(op->record, left, step_state::LEFT, left == row ? why.message : "");
  end(op, state::UNKNOWN, journal_committed, std::move(why));
}

void run_after(data_ptr op, size_t step) {
  op->now = phase::after;
  op->at = step;
  if (step == op->after.size()) return end(op, state::SUCCEEDED, {}, {});
  auto row = op->before.size() + step;
  op->record = with_step(op->record, row, step_state::RUNNING);
  if (step > 0) show_now_and_then(op);
  fails_at(op, moment::begun, &op->after[step]);
  perform(
      op, op->after[step],
      [op, step, row](const step_result& result) {
        fails_at(op, moment::acted, &op->after[step]);
        op->tries_in_a_row = 0;
        op->record = with_step(with_metadata(op->record, result.metadata), row, step_state::DONE);
        auto& more = result.more;
        if (more.writes.empty() && more.events.empty()) return run_after(op, step + 1);
        put_on_disk(
            op, more, [op, step] { run_after(op, step + 1); },
            [op, row](error why) { leave(op, row, std::move(why)); });
      },
      [op, step, row](error why) {
        if (ask_again(op, why, [op, step] { run_after(op, step); })) return;
        leave(op, row, std::move(why));
      });
}

// ---- back

// The failed step is undone too: it may have got half way.
void undo(data_ptr op, size_t steps, error why, state how) {
  if (steps == 0) {
    bool left = op->something_left;
    return end(op, left ? state::UNKNOWN : how, left ? journal_undoing : std::string_view{}, std::move(why));
  }
  auto& step = op->before[steps - 1];
  take_back(
      op, step,
      [op, steps, why, how] {
        fails_at(op, moment::undone, &op->before[steps - 1]);
        op->tries_in_a_row = 0;
        op->record = with_step(op->record, steps - 1, step_state::UNDONE);
        undo(op, steps - 1, why, how);
      },
      [op, steps, why, how](const error& failed) {
        if (ask_again(op, failed, [op, steps, why, how] { undo(op, steps, why, how); })) return;
        log().error("Operation {}: step {} could not be undone: {}", id_of(op->record), op->before[steps - 1].kind,
                    failed.message);
        op->something_left = true;
        op->record = with_step(op->record, steps - 1, step_state::LEFT, failed.message);
        undo(op, steps - 1, why, how);
      });
}

// Who wants to undo says so in the journal first. A commit that is still on its way then fails; or it was there first,
// or somebody else is undoing already, and this fails.
void begin_undo(data_ptr op, size_t steps, error why, state how) {
  op->now = phase::undoing;
  op->record = with_cancel(op->record, effect::NO);
  if (steps == 0) return end(op, how, {}, std::move(why));
  batch mark;
  mark.conditions.push_back(journal_says(op, journal_running));
  add_writes(mark, op->record, journal_undoing);
  put_on_disk(
      op, std::move(mark),
      [op, steps, why, how] {
        fails_at(op, moment::undoing);
        undo(op, steps, why, how);
      },
      [op, steps, why, how](const error& refused) {
        if (refused.code == fault::precondition) return op->self->quit(); // another actor has taken this over
        log().error("Operation {}: {}", id_of(op->record), refused.message);
        undo(op, steps, why, how); // a disk that takes nothing must not keep us from cleaning up
      });
}

// ---- requests

void take_progress(const data_ptr& op, const operation_progress& progress) {
  if (op->now != phase::before && op->now != phase::after) return;
  if (!progress.key.empty())
    op->record = with_metadata(op->record, {{progress.key, nlohmann::json(progress.text).dump()}});
  op->record = with_progress(op->record, op->now == phase::before ? op->at : op->before.size() + op->at, progress);
  show_now_and_then(op);
}

caf::result<caf::unit_t> cancel(const data_ptr& op) {
  auto how = cancel_effect(*op);
  if (how == effect::NO)
    return to_caf({fault::invalid, op->cancel_asked ? "The operation is being cancelled already"
                                                    : "This operation can't be cancelled"});
  op->cancel_asked = true;
  op->record = with_cancel(op->record, effect::NO, true);
  auto promise = promise_of(op->self);
  batch change;
  change.conditions.push_back(journal_says(op, journal_running));
  change.writes.push_back(put(table::operations, id_of(op->record), op->record));
  change.events.push_back(operation_event(op->record));
  put_on_disk(
      op, std::move(change), [promise]() mutable { promise.deliver(caf::unit); },
      [promise](const error& why) mutable { promise.deliver(to_caf(why)); });
  auto& step = op->before[op->at];
  if (how != effect::AFTER_STEP)
    op->self->send(op->with.find(find_step_kind(step.kind)->performer), step_interrupt{id_of(op->record), step});
  return promise;
}

caf::behavior saga_behavior(data_ptr op) {
  return {
      [op](const operation_progress& progress) { take_progress(op, progress); },
      [op](const cancel_operation&) { return cancel(op); },
      [op](const find_operation&) { return op->record; },
      [](resume& back) { back.run(); },
  };
}

// ---- the beginning

void refused(const data_ptr& op, error why) {
  op->accepted.deliver(to_caf(why));
  op->record = in_state(op->record, state::FAILED, &why);
  leave(op, false, std::move(why));
}

// Nothing to do before the commit: being accepted and being committed are one transaction.
void accept_and_commit(data_ptr op) {
  bool over = op->after.empty();
  auto change = admitted(op);
  if (!change) return refused(op, change.error());
  change->events.insert(change->events.begin(), operation_event(op->record));
  auto next = over ? in_state(op->record, state::SUCCEEDED) : op->record;
  add_writes(*change, next, over ? std::string_view{} : journal_committed);
  add_index(*change, next, op->head->request_digest);
  if (over) change->events.push_back(operation_event(next));
  put_on_disk(
      op, std::move(*change),
      [op, over, next] {
        fails_at(op, moment::committed);
        op->accepted.deliver(op->record);
        op->record = next;
        over ? leave(op, true, {}) : run_after(op, 0);
      },
      [op](error why) { judge_again(*op, why) ? accept_and_commit(op) : refused(op, std::move(why)); });
}

void accept_and_run(data_ptr op) {
  op->record = with_cancel(op->record, cancel_effect(*op));
  batch change;
  add_writes(change, op->record, journal_running);
  add_index(change, op->record, op->head->request_digest);
  change.events.push_back(operation_event(op->record));
  put_on_disk(
      op, std::move(change),
      [op] {
        fails_at(op, moment::accepted);
        op->accepted.deliver(op->record);
        run_before(op, 0);
      },
      [op](error why) { refused(op, std::move(why)); });
}

data_ptr make_data(caf::event_based_actor* self, services& with, operation_record record) {
  return std::make_shared<operation_data>(
      operation_data{with, self, std::move(record), std::make_shared<header>(), {}, {}, {}, {}});
}

void recover(data_ptr op, std::string_view phase) {
  log().info("Operation {} was interrupted: {}", id_of(op->record),
             phase == journal_committed ? "completing it" : "undoing it");
  if (phase == journal_committed) return run_after(op, 0);
  bool cancelled = state_of(op->record) == state::CANCELLING;
  error why{fault::cancelled, cancelled ? "The operation was cancelled"
                                        : "The daemon was restarted; what the operation had done was undone"};
  auto how = cancelled ? state::CANCELLED : state::ROLLED_BACK;
  op->record.read([&](schema::Operation::Reader record) { // tried before: the reason stays the first one
    if (record.hasError())
      why = {static_cast<fault>(record.getError().getCode()), text(record.getError().getMessage())};
  });
  if (phase == journal_undoing) return undo(op, op->before.size(), why, how);
  batch mark;
  mark.conditions.push_back(journal_says(op, journal_running));
  mark.writes.push_back({table::journal, id_of(op->record), std::string{journal_undoing}});
  auto look_again = [op](const error& refused) {
    auto records = op->with.db.read();
    auto now = records.get(table::journal, id_of(op->record));
    if (auto stored = load<schema::Operation>(records, table::operations, id_of(op->record))) op->record = *stored;
    if (now && *now == journal_committed) return run_after(op, 0);
    if (!now) return leave(op, state_of(op->record) == state::SUCCEEDED, {}); // its commit came through
    log().error("Operation {} stays as it is: {}", id_of(op->record), refused.message);
    leave(op, false, refused);
  };
  put_on_disk(
      op, std::move(mark),
      [op, why, how] {
        fails_at(op, moment::undoing);
        undo(op, op->before.size(), why, how);
      },
      look_again);
}

} // namespace

caf::behavior operation(caf::event_based_actor* self, services& with, operation_record record,
                        std::shared_ptr<const saga> what) {
  auto op = std::make_shared<operation_data>(operation_data{with, self, std::move(record), what->head, what->before,
                                                            what->after, what->commit, what->owner, what->may_cancel,
                                                            what->admit});
  caf::message_handler begin{[op](const begin_saga&) -> caf::response_promise {
    op->accepted = promise_of(op->self);
    op->before.empty() ? accept_and_commit(op) : accept_and_run(op);
    return op->accepted;
  }};
  return begin.or_else(saga_behavior(op));
}

caf::behavior operation_recovery(caf::event_based_actor* self, services& with, std::string id) {
  auto records = with.db.read();
  auto record = load<schema::Operation>(records, table::operations, id);
  auto found = records.get(table::journal, id);
  if (!record || !found) {
    self->quit();
    return {};
  }
  auto op = make_data(self, with, *record);
  op->before = steps_of(*record, false);
  op->after = steps_of(*record, true);
  op->now = *found == journal_committed ? phase::after : phase::undoing;
  op->owner = with.find(role::instances); // whose actors may wait for an operation of before
  for (auto& step : *found == journal_committed ? op->after : op->before)
    if (!find_step_kind(step.kind)) { // written by a newer daemon, which will finish it
      log().error("Operation {} has a step \"{}\" that this daemon does not know; it is left as it is", id, step.kind);
      self->quit();
      return {};
    }
  recover(op, std::string{*found});
  return saga_behavior(op);
}

caf::behavior live_operation(caf::event_based_actor* self, services& with, operation_record record, caf::actor owner,
                             bool known) {
  auto op = make_data(self, with, std::move(record));
  op->owner = std::move(owner);
  if (!known) {
    batch begin;
    add_writes(begin, op->record, journal_running);
    add_index(begin, op->record, {});
    begin.events.push_back(operation_event(op->record));
    // Nobody waits for this commit: it only has to be there after a crash, and the end comes behind it.
    propose_quietly(self, with, std::move(begin));
  }
  return {
      [op](const finish_live& last) {
        if (op->cancel_asked) return;
        op->record = with_metadata(op->record, last.metadata);
        end(op, last.succeeded ? state::SUCCEEDED : state::FAILED, {}, last.why);
      },
      [op](const cancel_operation&) -> caf::result<caf::unit_t> {
        if (!op->owner || std::exchange(op->cancel_asked, true))
          return to_caf({fault::invalid, "This operation can't be cancelled"});
        end(op, state::CANCELLED, {}, {fault::cancelled, "The operation was cancelled"});
        return caf::unit;
      },
      [op](const operation_progress& progress) {
        if (op->cancel_asked || progress.key.empty()) return;
        op->record = with_metadata(op->record, {{progress.key, nlohmann::json(progress.text).dump()}});
        show_now_and_then(op);
      },
      [op](const find_operation&) { return op->record; },
  };
}

} // namespace troupe
