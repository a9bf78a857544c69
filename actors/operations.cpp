#include "actors/operations.hpp"

#include "actors/children.hpp"
#include "actors/operation_claims.hpp"
#include "actors/operation_record.hpp"
#include "actors/records.hpp"
#include "actors/server_keys.hpp"
#include "actors/settle_store.hpp"
#include "actors/store_actor.hpp"
#include "runtime/uuid.hpp"

#include <caf/event_based_actor.hpp>
#include <set>

namespace troupe {
namespace {

struct trim_old {};  // INTERNAL: remove what retention has passed
struct trim_tick {}; // INTERNAL: the same, now and every hour

constexpr size_t running_max = 10'000;
constexpr size_t trim_batch = 1'000; // operations removed in one commit
constexpr auto trim_every = std::chrono::hours{1};
constexpr int64_t day_ns = 24LL * 3600 * 1'000'000'000;

struct operations_data {
  services& with;
  caf::event_based_actor* self;
  request_claims claims;
  std::map<std::string, caf::actor> running;
  std::map<caf::actor_id, std::string> by_actor; // only of what runs
  std::map<std::string, std::vector<std::function<void(const operation_record&)>>> waiting;
  std::map<std::string, std::string> unfinished; // entity -> the operation that left something behind there
  std::set<std::string> recovering;
};
using data_ptr = std::shared_ptr<operations_data>;

template <class Behavior>
caf::actor run(const data_ptr& all, const std::string& id, Behavior behavior) {
  auto child = spawn_child(all->self, all->with, "operation", id, std::move(behavior));
  all->running.insert_or_assign(id, child);
  all->by_actor.insert_or_assign(child.id(), id);
  return child;
}

std::string entity_of(const operation_record& record) {
  return record.read([](schema::Operation::Reader op) { return text(op.getEntity()); });
}

std::optional<operation_record> stored(const data_ptr& all, const std::string& id) {
  return load<schema::Operation>(all->with.db.read(), table::operations, id);
}

// It ended, and nothing of it is left to be done.
bool is_settled(const operation_record& record) {
  return is_over(state_of(record)) && state_of(record) != schema::Operation::State::UNKNOWN;
}

// Nothing new begins on its entity meanwhile.
void recover(const data_ptr& all, const std::string& id) {
  all->recovering.insert(id);
  if (auto record = stored(all, id)) all->unfinished.insert_or_assign(entity_of(*record), id);
  run(all, id, [&with = all->with, id](caf::event_based_actor* child) { return operation_recovery(child, with, id); });
}

void begin_again(const data_ptr& all, const operation_record& record, bool known) {
  run(all, id_of(record), [&with = all->with, record, known](caf::event_based_actor* actor) {
    return live_operation(actor, with, record, nullptr, known);
  });
}

// A command goes on without us; who looks for it will tell how it ended, or that it is gone.
bool outlives_us(const operation_record& record) {
  return record.read([](schema::Operation::Reader op) { return view(op.getKind()) == "instance.exec"; });
}

void take_up(const data_ptr& all, const std::string& id) {
  auto record = stored(all, id);
  record&& outlives_us(*record) ? begin_again(all, *record, true) : recover(all, id);
}

// What a crash left: each is finished by an operation actor of its own.
void recover_all(const data_ptr& all) {
  auto records = all->with.db.read();
  std::vector<std::string> found;
  records.scan(table::journal, "", [&](std::string_view id, std::string_view) {
    found.emplace_back(id);
    return true;
  });
  for (auto& id : found)
    if (!all->running.count(id)) take_up(all, id);
}

// An operation of the actor before this one may have been on its way into the journal when that failed.
void recover_late_ones(const data_ptr& all) {
  ask<void>(all->self, all->with.find(role::store), settle_store{}, [all](const outcome<void>&) { recover_all(all); });
}

// ---- beginning

caf::actor begin(const data_ptr& all, const begin_saga& request) {
  auto id = make_uuid_v7();
  auto record = make_record(*request.what, id, all->with.server_name);
  return run(all, id, [&with = all->with, record, what = request.what](caf::event_based_actor* actor) {
    return operation(actor, with, record, what);
  });
}

// The owner hears of the end behind the answer, as of any operation's.
caf::result<operation_record> forecast(const data_ptr& all, const saga& what) {
  auto promise = promise_of(all->self);
  auto record = make_forecast(what, make_uuid_v7(), all->with.server_name, all->with.db.read());
  promise.deliver(record);
  if (what.owner) all->self->send(what.owner, operation_ended{id_of(record), true});
  return promise;
}

// Something of this entity could be neither completed nor undone. It is tried again now: nothing new is built upon it.
// The request was judged by what was before that, so it has to be made anew.
caf::result<operation_record> refuse_until_settled(const data_ptr& all, const std::string& before) {
  auto promise = promise_of(all->self);
  if (!all->running.count(before)) recover(all, before);
  all->waiting[before].push_back([promise, before](const operation_record& last) mutable {
    auto url = "/1.0/operations/" + before;
    if (is_settled(last))
      promise.deliver(
          to_caf({fault::busy, "What an earlier operation had left behind was cleaned up; try again", url}));
    else
      promise.deliver(
          to_caf({fault::wrong_state,
                  "An earlier operation left something behind that cannot be removed now; see " + url, url}));
  });
  return promise;
}

caf::result<operation_record> begin_or_refuse(const data_ptr& all, const begin_saga& request) {
  auto& what = *request.what;
  if (!is_saga_kind(what.kind)) return to_caf({fault::internal, "No saga is known as " + what.kind});
  if (what.head->plan) return forecast(all, what);
  if (all->running.size() >= running_max)
    return to_caf({fault::busy, "Too many operations are running; try again later"});
  if (auto at = all->unfinished.find(what.entity); at != all->unfinished.end())
    return refuse_until_settled(all, at->second);
  return hand_over<operation_record>(all->self, begin(all, request), request);
}

operation_record begin(const data_ptr& all, const begin_live& request) {
  auto id = make_uuid_v7();
  auto record = make_record(request, id, all->with.server_name);
  run(all, id, [&with = all->with, record, owner = request.owner](caf::event_based_actor* actor) {
    return live_operation(actor, with, record, owner);
  });
  return record;
}

// ---- while it runs

caf::result<operation_record> await(const data_ptr& all, const std::string& id) {
  if (all->running.count(id)) {
    auto promise = promise_of(all->self);
    all->waiting[id].push_back([promise](const operation_record& last) mutable { promise.deliver(last); });
    return promise;
  }
  if (auto record = stored(all, id)) return *record;
  return to_caf({fault::not_found, "Operation not found"});
}

// Asks the operation's own actor; `instead` answers when it has just ended.
// The operation ended before it could answer.
bool is_from_nobody(const caf::message& reply) {
  if (!reply.match_elements<caf::error>()) return false;
  auto& why = reply.get_as<caf::error>(0);
  return why.category() == caf::atom("system") || why.category() == caf::atom("exit");
}

template <class T, class Request>
caf::response_promise ask_running(const data_ptr& all, const Request& request, std::function<outcome<T>()> instead) {
  auto promise = promise_of(all->self);
  auto at = all->running.find(request.id);
  if (at == all->running.end()) {
    answer(promise, instead());
    return promise;
  }
  ask_untyped(all->self, at->second, caf::make_message(request), [promise, instead](const caf::message& reply) {
    is_from_nobody(reply) ? answer(promise, instead()) : promise.deliver(reply);
  });
  return promise;
}

caf::response_promise find(const data_ptr& all, const find_operation& request) {
  return ask_running<operation_record>(all, request, [all, id = request.id]() -> outcome<operation_record> {
    if (auto record = stored(all, id)) return *record;
    return fail(fault::not_found, "Operation not found");
  });
}

caf::response_promise cancel(const data_ptr& all, const cancel_operation& request) {
  return ask_running<void>(all, request, [all, id = request.id]() -> outcome<void> {
    if (stored(all, id)) return fail(fault::invalid, "This operation can't be cancelled");
    return fail(fault::not_found, "Operation not found");
  });
}

// ---- the end

void over(const data_ptr& all, const std::string& id, const operation_record& record) {
  if (auto at = all->running.find(id); at != all->running.end()) {
    all->by_actor.erase(at->second.id());
    all->running.erase(at);
  }
  all->recovering.erase(id);
  auto entity = entity_of(record);
  if (!is_settled(record))
    all->unfinished.insert_or_assign(entity, id);
  else if (auto at = all->unfinished.find(entity); at != all->unfinished.end() && at->second == id)
    all->unfinished.erase(at);
  auto waiters = all->waiting.extract(id);
  if (!waiters.empty())
    for (auto& waiter : waiters.mapped()) waiter(record);
  if (record.read([](schema::Operation::Reader op) { return view(op.getKind()) == "server.update"; }))
    all->self->send(all->self, trim_old{});
}

// An operation's actor that failed: what it had begun is finished by another, once.
void child_down(const data_ptr& all, const caf::down_msg& down) {
  auto at = all->by_actor.find(down.source.id());
  if (at == all->by_actor.end()) return;
  auto id = at->second;
  all->by_actor.erase(at);
  all->running.erase(id);
  if (has_failed(down)) tell_of_restart(all->self, all->with, "operation", id, down);
  if (!all->recovering.count(id) && all->with.db.read().get(table::journal, id)) return take_up(all, id);
  all->recovering.erase(id);
  if (auto record = stored(all, id)) over(all, id, *record);
}

// Keys are in order of beginning: whatever began after the limit has not ended before it.
void trim(const data_ptr& all) {
  auto records = all->with.db.read();
  auto limit = now_ns() - server_number(records, "operations.retention.days") * day_ns;
  auto first_kept = first_id_of(limit);
  batch change;
  size_t count = 0;
  records.scan(table::operations, "", [&](std::string_view id, std::string_view bytes) {
    if (id >= first_kept || count == trim_batch) return false;
    auto record = operation_record::from_bytes(bytes);
    bool ended = !records.get(table::journal, id);
    if (!ended || record.read([](schema::Operation::Reader op) { return op.getUpdatedAt(); }) >= limit) return true;
    add_removal(change, record);
    ++count;
    return true;
  });
  if (count == 0) return;
  bool more = count == trim_batch;
  commit(all->self, all->with, std::move(change), [all, more](const outcome<void>& removed) {
    if (!removed) return log().warn("Old operations could not be removed: {}", removed.error().message);
    if (more) all->self->send(all->self, trim_old{});
  });
}

} // namespace
} // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::trim_old)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::trim_tick)

namespace troupe {

caf::behavior operations(caf::event_based_actor* self, services& with) {
  auto all = std::make_shared<operations_data>(operations_data{with, self, {with, self}});
  end_children_with(self, [all](auto each) {
    for (auto& [id, child] : all->running) each(child);
    all->waiting.clear(); // they refer to us
  });
  self->set_down_handler([all](const caf::down_msg& down) { child_down(all, down); });
  recover_all(all);
  recover_late_ones(all);
  self->send(self, trim_tick{});
  return {
      [all](const begin_saga& request) { return begin_or_refuse(all, request); },
      [all](const begin_live& request) { return begin(all, request); },
      [self, all](const finish_live& last) {
        if (auto at = all->running.find(last.id); at != all->running.end()) self->send(at->second, last);
      },
      [all](const resume_live& request) {
        if (!all->running.count(id_of(request.record))) begin_again(all, request.record, false);
        return caf::unit;
      },
      [self, all](const operation_progress& progress) {
        if (auto at = all->running.find(progress.id); at != all->running.end()) self->send(at->second, progress);
      },
      [all](const claim_request& request) { return all->claims.take(request); },
      [all](const release_claim& gone) { all->claims.release(gone); },
      [all](const await_operation& request) { return await(all, request.id); },
      [all](const find_operation& request) { return find(all, request); },
      [all](const cancel_operation& request) { return cancel(all, request); },
      [all](const operation_over& last) { over(all, id_of(last.record), last.record); },
      [all](trim_old) { trim(all); },
      [self, all](trim_tick) {
        trim(all);
        self->delayed_send(self, trim_every, trim_tick{});
      },
      [](const operation_ended&) {},
  };
}

} // namespace troupe
