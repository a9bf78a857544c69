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

constexpr std::string_view journal_running = "running", journal_committed = "committed";

struct operation_data {
  services& with;
  operation_record record;
  std::shared_ptr<const header> head;
  std::vector<saga_step> before, after;
  batch commit;
  caf::actor owner;
  caf::response_promise accepted; // the 202, pending until the journal has us
  bool cancel_asked = false;
  int64_t progress_at = 0;
};
using data_ptr = std::shared_ptr<operation_data>;

void run_before(caf::event_based_actor* self, data_ptr op, size_t step);
void run_after(caf::event_based_actor* self, data_ptr op, size_t step);
void undo(caf::event_based_actor* self, data_ptr op, size_t steps, error why, state end);

template <class Then, class Else>
void put_on_disk(caf::event_based_actor* self, data_ptr op, batch what, Then then, Else otherwise) {
  mark_cause(what, id_of(op->record));
  self->request(op->with.find(role::store), caf::infinite, propose{std::make_shared<const batch>(std::move(what))})
      .then([then](const committed_ptr&) mutable { then(); },
            [otherwise](const caf::error& why) mutable { otherwise(from_caf(why)); });
}

void leave(caf::event_based_actor* self, data_ptr op, bool succeeded, error why) {
  self->send(op->with.find(role::operations), operation_over{op->record});
  if (op->owner) self->send(op->owner, operation_ended{id_of(op->record), succeeded, std::move(why)});
  self->quit();
}

void end(caf::event_based_actor* self, data_ptr op, state how, std::string_view journal, error why) {
  op->record = in_state(op->record, how, how == state::SUCCEEDED ? nullptr : &why);
  batch last;
  add_writes(last, op->record, journal);
  last.events.push_back(operation_event(op->record));
  auto done = [self, op, how, why] { leave(self, op, how == state::SUCCEEDED, why); };
  put_on_disk(self, op, std::move(last), done, [self, op, how, why](const error& disk) {
    log().error("The end of operation {} could not be recorded: {}", id_of(op->record), disk.message);
    leave(self, op, how == state::SUCCEEDED, why);
  });
}

void commit_now(caf::event_based_actor* self, data_ptr op) {
  auto running = op->record;
  bool over = op->after.empty();
  if (over) op->record = in_state(op->record, state::SUCCEEDED);
  batch change = op->commit;
  add_writes(change, op->record, over ? std::string_view{} : journal_committed);
  if (over) change.events.push_back(operation_event(op->record));
  put_on_disk(
      self, op, std::move(change),
      [self, op, over] {
        if (over)
          leave(self, op, true, {});
        else
          run_after(self, op, 0);
      },
      [self, op, running](error why) {
        op->record = running;
        undo(self, op, op->before.size(), std::move(why), state::ROLLED_BACK);
      });
}

void run_before(caf::event_based_actor* self, data_ptr op, size_t step) {
  if (op->cancel_asked)
    return undo(self, op, step, {fault::cancelled, "The operation was cancelled"}, state::CANCELLED);
  if (step == op->before.size()) return commit_now(self, op);
  auto who = performer_of(op->before[step].kind);
  op->record = with_step(op->record, step, schema::Step::State::RUNNING);
  self->request(op->with.find(*who), caf::infinite, step_act{id_of(op->record), op->head, op->before[step]})
      .then(
          [self, op, step](const step_result_ptr& result) {
            auto& more = result->more;
            op->commit.conditions.insert(op->commit.conditions.end(), more.conditions.begin(), more.conditions.end());
            op->commit.writes.insert(op->commit.writes.end(), more.writes.begin(), more.writes.end());
            op->commit.events.insert(op->commit.events.end(), more.events.begin(), more.events.end());
            op->record = with_metadata(with_step(op->record, step, schema::Step::State::DONE), result->metadata);
            run_before(self, op, step + 1);
          },
          [self, op, step](const caf::error& why) {
            op->record = with_step(op->record, step, schema::Step::State::FAILED);
            undo(self, op, step + 1, from_caf(why), state::FAILED);
          });
}

// The failed step is undone too: it may have got half way.
void undo(caf::event_based_actor* self, data_ptr op, size_t steps, error why, state how) {
  if (steps == 0) return end(self, op, how, {}, std::move(why));
  auto& step = op->before[steps - 1];
  auto go_on = [self, op, steps, why, how] {
    op->record = with_step(op->record, steps - 1, schema::Step::State::UNDONE);
    undo(self, op, steps - 1, why, how);
  };
  self->request(op->with.find(*performer_of(step.kind)), caf::infinite, step_undo{id_of(op->record), step})
      .then(go_on, [go_on, op, kind = step.kind](const caf::error& failed) {
        log().error("Operation {}: step {} could not be undone: {}", id_of(op->record), kind, from_caf(failed).message);
        go_on();
      });
}

void run_after(caf::event_based_actor* self, data_ptr op, size_t step) {
  if (step == op->after.size()) return end(self, op, state::SUCCEEDED, {}, {});
  auto& next = op->after[step];
  self->request(op->with.find(*performer_of(next.kind)), caf::infinite, step_act{id_of(op->record), op->head, next})
      .then(
          [self, op, step](const step_result_ptr& result) {
            op->record = with_metadata(op->record, result->metadata);
            op->record = with_step(op->record, op->before.size() + step, schema::Step::State::DONE);
            run_after(self, op, step + 1);
          },
          [self, op, step](const caf::error& why) {
            // The journal keeps it: the next start of the daemon tries the rest again.
            op->record = with_step(op->record, op->before.size() + step, schema::Step::State::FAILED);
            end(self, op, state::FAILED, journal_committed, from_caf(why));
          });
}

void show_progress(caf::event_based_actor* self, data_ptr op, const operation_progress& progress) {
  op->record = with_metadata(op->record, {{progress.key, nlohmann::json(progress.text).dump()}});
  auto now = now_ns();
  if (now - op->progress_at < 500'000'000) return;
  op->progress_at = now;
  batch seen;
  seen.writes.push_back(put(table::operations, id_of(op->record), op->record));
  seen.events.push_back(operation_event(op->record));
  propose_quietly(self, op->with, std::move(seen));
}

caf::behavior saga_behavior(caf::event_based_actor* self, data_ptr op) {
  return {
      [self, op](const operation_progress& progress) { show_progress(self, op, progress); },
      [op](const cancel_operation&) -> caf::result<caf::unit_t> {
        bool may = op->record.read([](schema::Operation::Reader r) { return r.getMayCancel(); });
        if (!may) return to_caf({fault::invalid, "This operation can't be cancelled"});
        op->cancel_asked = true;
        return caf::unit;
      },
  };
}

// Nothing to do before the commit: being accepted and being committed are one transaction.
void accept_and_commit(caf::event_based_actor* self, data_ptr op) {
  auto shown = op->record;
  bool over = op->after.empty();
  batch change = std::move(op->commit);
  change.events.insert(change.events.begin(), operation_event(shown));
  if (over) op->record = in_state(op->record, state::SUCCEEDED);
  add_writes(change, op->record, over ? std::string_view{} : journal_committed);
  if (over) change.events.push_back(operation_event(op->record));
  put_on_disk(
      self, op, std::move(change),
      [self, op, over, shown] {
        op->accepted.deliver(shown);
        if (over)
          leave(self, op, true, {});
        else
          run_after(self, op, 0);
      },
      [self, op](error why) {
        op->accepted.deliver(to_caf(why));
        op->record = in_state(op->record, state::FAILED, &why);
        leave(self, op, false, std::move(why));
      });
}

void accept_and_run(caf::event_based_actor* self, data_ptr op) {
  batch change;
  add_writes(change, op->record, journal_running);
  change.events.push_back(operation_event(op->record));
  put_on_disk(
      self, op, std::move(change),
      [self, op] {
        op->accepted.deliver(op->record);
        run_before(self, op, 0);
      },
      [self, op](error why) {
        op->accepted.deliver(to_caf(why));
        op->record = in_state(op->record, state::FAILED, &why);
        leave(self, op, false, std::move(why));
      });
}

} // namespace

caf::behavior operation(caf::event_based_actor* self, services& with, operation_record record,
                        std::shared_ptr<const saga> what) {
  auto op = std::make_shared<operation_data>(
      operation_data{with, std::move(record), what->head, what->before, what->after, what->commit, what->owner, {}});
  caf::message_handler begin{[self, op](const begin_saga&) {
    op->accepted = self->make_response_promise();
    op->before.empty() ? accept_and_commit(self, op) : accept_and_run(self, op);
    return op->accepted;
  }};
  return begin.or_else(saga_behavior(self, op));
}

caf::behavior operation_recovery(caf::event_based_actor* self, services& with, operation_record record,
                                 bool committed) {
  auto op = std::make_shared<operation_data>(operation_data{
      with, record, std::make_shared<header>(), steps_of(record, false), steps_of(record, true), {}, {}, {}});
  for (auto& step : committed ? op->after : op->before)
    if (!performer_of(step.kind)) { // written by a newer daemon, which will finish it
      log().error("Operation {} has a step \"{}\" that this daemon does not know; it is left as it is", id_of(record),
                  step.kind);
      self->quit();
      return {};
    }
  log().info("Operation {} was interrupted: {}", id_of(record), committed ? "completing it" : "undoing it");
  if (committed)
    run_after(self, op, 0);
  else
    undo(self, op, op->before.size(),
         {fault::cancelled, "The daemon was restarted; what the operation had done was undone"}, state::ROLLED_BACK);
  return saga_behavior(self, op);
}

caf::behavior live_operation(caf::event_based_actor* self, services& with, operation_record record) {
  auto op = std::make_shared<operation_data>(
      operation_data{with, std::move(record), std::make_shared<header>(), {}, {}, {}, {}, {}});
  batch begin;
  add_writes(begin, op->record, journal_running);
  begin.events.push_back(operation_event(op->record));
  // Nobody waits for this commit: it only has to be there after a crash, and the end comes behind it.
  propose_quietly(self, with, std::move(begin));
  return {
      [self, op](const finish_live& last) {
        op->record = with_metadata(op->record, last.metadata);
        end(self, op, last.succeeded ? state::SUCCEEDED : state::FAILED, {}, last.why);
      },
      [](const cancel_operation&) -> caf::result<caf::unit_t> {
        return to_caf({fault::invalid, "This operation can't be cancelled"});
      },
  };
}

} // namespace troupe
