#include "runtime/supervisor.hpp"

#include "runtime/actor_error.hpp"
#include "runtime/log.hpp"

#include <algorithm>
#include <caf/actor_clock.hpp>
#include <caf/actor_system.hpp>
#include <caf/response_promise.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <deque>
#include <list>
#include <optional>
#include <stdexcept>
#include <unordered_map>

namespace troupe {
namespace {

struct member {
  actor_spec spec;
  bool added = false; // at run time
  caf::actor handle;  // empty: not running
};

/// What the supervisor does, one at a time: stop the children named in `stopping` (the last first), then act.
struct job {
  enum class kind : uint8_t { restart, add, remove, leave };
  kind what = kind::leave;
  std::string id;                    // restart: who failed; remove: whom
  std::string why;                   // restart
  actor_spec spec;                   // add
  caf::error reason;                 // leave
  caf::response_promise answer;      // add, remove
  std::vector<std::string> stopping; // still alive
  std::vector<std::string> starting; // restart: in order
};

bool is_failure(const caf::error& reason) {
  return reason && reason != caf::exit_reason::normal && reason != caf::exit_reason::user_shutdown;
}

class supervisor_data {
public:
  using actor_type = caf::stateful_actor<supervisor_data>;
  static inline const char* name = "supervisor";

  supervisor_data() = default;
  supervisor_data(const supervisor_data&) = delete;
  supervisor_data& operator=(const supervisor_data&) = delete;
  ~supervisor_data() { // killed or crashed: nobody may be left without a supervisor
    for (auto& m : members_)
      if (m.handle) caf::anon_send_exit(m.handle, caf::exit_reason::kill);
  }

  void begin(actor_type* self, supervisor_spec spec);
  caf::result<caf::actor> find(const std::string& id) const;
  caf::response_promise enqueue(job next);
  void down(const caf::down_msg& msg);
  void patience_ends(uint64_t token);
  void leave(caf::error reason);

private:
  using member_list = std::list<member>;

  void ended(member_list::iterator who, const caf::error& reason);
  void run_jobs();
  void take(job next);
  void take_restart(job next);
  void stop_next();
  void finish();
  void finish_restart();
  void finish_add();
  void finish_remove();
  bool start(member& who);
  bool too_many_restarts();
  member_list::iterator append(actor_spec spec, bool added);
  void forget(member_list::iterator who);
  void run(job next);
  bool leaving() const { return current_ && current_->what == job::kind::leave; }

  actor_type* self_ = nullptr;
  supervisor_spec spec_; // without the children
  member_list members_;  // in start order
  std::unordered_map<std::string, member_list::iterator> by_id_;
  std::unordered_map<caf::actor_id, member_list::iterator> by_actor_;
  std::deque<caf::actor_clock::time_point> restarts_; // within the last period
  std::deque<job> waiting_;
  std::optional<job> current_;
  uint64_t token_ = 0; // of the one asked to leave
};

caf::error refused(fault code, std::string sentence) { return to_caf({code, std::move(sentence)}); }

// --- the children -----------------------------------------------------------------------------------------------

supervisor_data::member_list::iterator supervisor_data::append(actor_spec spec, bool added) {
  auto at = members_.insert(members_.end(), member{std::move(spec), added, {}});
  by_id_.emplace(at->spec.id, at);
  return at;
}

void supervisor_data::forget(member_list::iterator who) {
  by_id_.erase(who->spec.id);
  members_.erase(who);
}

bool supervisor_data::start(member& who) {
  try {
    auto made = who.spec.start(self_);
    if (!made) throw std::runtime_error{"no actor"};
    self_->monitor(made);
    by_actor_[made.id()] = by_id_.at(who.spec.id);
    who.handle = std::move(made);
    return true;
  } catch (const std::exception& e) {
    log().error("Cannot start the actor {} {} {}", who.spec.id, field("supervisor", spec_.name),
                field("why", e.what()));
    return false;
  }
}

bool supervisor_data::too_many_restarts() {
  auto now = self_->system().clock().now();
  restarts_.push_back(now);
  while (restarts_.front() + spec_.restart_period < now) restarts_.pop_front();
  return restarts_.size() > spec_.restarts_max;
}

caf::result<caf::actor> supervisor_data::find(const std::string& id) const {
  auto at = by_id_.find(id);
  if (at == by_id_.end()) return refused(fault::not_found, "No actor " + id + " below " + spec_.name);
  if (!at->second->handle) return refused(fault::busy, "The actor " + id + " is not running just now");
  return at->second->handle;
}

// --- events -----------------------------------------------------------------------------------------------------

void supervisor_data::begin(actor_type* self, supervisor_spec spec) {
  self_ = self;
  auto children = std::exchange(spec.children, {});
  spec_ = std::move(spec);
  for (auto& c : children) {
    bool twice = by_id_.count(c.id) != 0;
    if (twice) log().error("Two actors are named {} {}", c.id, field("supervisor", spec_.name));
    if (twice || !start(*append(std::move(c), false))) return leave(caf::exit_reason::kill);
  }
}

void supervisor_data::down(const caf::down_msg& msg) {
  auto at = by_actor_.find(msg.source.id());
  if (at == by_actor_.end()) return;
  auto who = at->second;
  by_actor_.erase(at);
  who->handle = nullptr;
  if (!current_) return ended(who, msg.reason);
  auto& stopping = current_->stopping;
  auto place = std::find(stopping.begin(), stopping.end(), who->spec.id);
  if (place == stopping.end()) return ended(who, msg.reason);
  bool was_asked = place + 1 == stopping.end();
  stopping.erase(place);
  if (!was_asked) return;
  stop_next();
  run_jobs();
}

void supervisor_data::ended(member_list::iterator who, const caf::error& reason) {
  bool failed = is_failure(reason);
  auto rule = who->spec.rule;
  if (failed)
    log().error("The actor {} failed {} {}", who->spec.id, field("supervisor", spec_.name),
                field("why", self_->system().render(reason)));
  if (rule == restart::permanent || (rule == restart::transient && failed)) {
    job next;
    next.what = job::kind::restart;
    next.id = who->spec.id;
    next.why = self_->system().render(reason);
    waiting_.push_back(std::move(next));
    run_jobs();
  } else if (rule == restart::temporary || who->added) {
    forget(who);
  } // else OTP keeps it: a later one_for_all starts it again
}

void supervisor_data::patience_ends(uint64_t token) {
  if (!current_ || token != token_ || current_->stopping.empty()) return;
  auto& who = *by_id_.at(current_->stopping.back());
  log().warn("The actor {} did not leave when asked and is killed {}", who.spec.id, field("supervisor", spec_.name));
  self_->send_exit(who.handle, caf::exit_reason::kill);
}

caf::response_promise supervisor_data::enqueue(job next) {
  auto answer = self_->make_response_promise();
  if (leaving()) {
    answer.deliver(refused(fault::wrong_state, "The supervisor " + spec_.name + " is stopping"));
    return answer;
  }
  next.answer = answer;
  waiting_.push_back(std::move(next));
  run_jobs();
  return answer;
}

void supervisor_data::leave(caf::error reason) {
  if (leaving()) return;
  if (current_) waiting_.push_back(std::move(*current_)); // only to be answered
  for (auto& w : waiting_)
    if (w.answer.pending())
      w.answer.deliver(refused(fault::wrong_state, "The supervisor " + spec_.name + " is stopping"));
  waiting_.clear();
  job last;
  last.what = job::kind::leave;
  last.reason = std::move(reason);
  for (auto& m : members_)
    if (m.handle) last.stopping.push_back(m.spec.id);
  run(std::move(last));
}

// --- jobs -------------------------------------------------------------------------------------------------------

void supervisor_data::run_jobs() {
  while (!current_ && !waiting_.empty()) {
    auto next = std::move(waiting_.front());
    waiting_.pop_front();
    take(std::move(next));
  }
}

void supervisor_data::take(job next) {
  switch (next.what) {
    case job::kind::restart:
      return take_restart(std::move(next));
    case job::kind::remove:
      if (auto at = by_id_.find(next.id); at == by_id_.end())
        return next.answer.deliver(refused(fault::not_found, "No actor " + next.id + " below " + spec_.name));
      else if (at->second->handle)
        next.stopping = {next.id};
      break;
    case job::kind::add:
      if (by_id_.count(next.spec.id))
        return next.answer.deliver(refused(fault::already_exists, "There is an actor " + next.spec.id + " already"));
      break;
    case job::kind::leave:
      break;
  }
  run(std::move(next));
}

void supervisor_data::take_restart(job next) {
  auto failed = by_id_.find(next.id);
  if (failed == by_id_.end() || failed->second->handle) return; // removed, or restarted along with another
  if (too_many_restarts()) {
    log().error("The actor {} fails too often: the supervisor gives up {}", next.id, field("supervisor", spec_.name));
    return leave(caf::exit_reason::kill);
  }
  auto from = spec_.on_failure == strategy::one_for_all ? members_.begin() : failed->second;
  auto to = spec_.on_failure == strategy::one_for_one ? std::next(from) : members_.end();
  for (auto m = from; m != to; ++m) {
    next.starting.push_back(m->spec.id);
    if (m->handle) next.stopping.push_back(m->spec.id);
  }
  run(std::move(next));
}

void supervisor_data::run(job next) {
  current_ = std::move(next);
  stop_next();
}

void supervisor_data::stop_next() {
  if (current_->stopping.empty()) return finish();
  auto& who = *by_id_.at(current_->stopping.back());
  self_->send_exit(who.handle, caf::exit_reason::user_shutdown);
  self_->delayed_send(self_, who.spec.grace, caf::tick_atom::value, ++token_);
}

void supervisor_data::finish() {
  switch (current_->what) {
    case job::kind::restart:
      finish_restart();
      break;
    case job::kind::add:
      finish_add();
      break;
    case job::kind::remove:
      finish_remove();
      break;
    case job::kind::leave:
      return self_->quit(std::move(current_->reason));
  }
  current_.reset();
}

void supervisor_data::finish_restart() {
  for (auto& id : current_->starting) {
    auto who = by_id_.at(id);
    if (who->spec.rule == restart::temporary)
      forget(who); // it fell with the others, and is never restarted
    else if (!start(*who)) {
      job again; // counts as a failure of its own, so this ends
      again.what = job::kind::restart;
      again.id = id;
      again.why = current_->why;
      waiting_.push_front(std::move(again));
      return;
    } else if (spec_.on_restart) {
      spec_.on_restart(id, current_->why);
    }
  }
}

void supervisor_data::finish_add() {
  auto who = append(std::move(current_->spec), true);
  if (start(*who)) return current_->answer.deliver(who->handle);
  auto id = who->spec.id;
  forget(who);
  current_->answer.deliver(refused(fault::internal, "The actor " + id + " could not be started"));
}

void supervisor_data::finish_remove() {
  if (auto at = by_id_.find(current_->id); at != by_id_.end()) forget(at->second);
  current_->answer.deliver(caf::unit);
}

caf::behavior supervise(supervisor_data::actor_type* self, supervisor_spec spec) {
  self->set_down_handler([self](caf::down_msg& msg) { self->state.down(msg); });
  self->set_exit_handler([self](caf::exit_msg& msg) {
    if (msg.reason) self->state.leave(std::move(msg.reason));
  });
  self->state.begin(self, std::move(spec));
  return {
      [self](caf::get_atom, const std::string& id) { return self->state.find(id); },
      [self](const add_child& wanted) {
        job next;
        next.what = job::kind::add;
        next.spec = wanted.spec;
        return self->state.enqueue(std::move(next));
      },
      [self](const remove_child& wanted) {
        job next;
        next.what = job::kind::remove;
        next.id = wanted.id;
        return self->state.enqueue(std::move(next));
      },
      // INTERNAL: the child asked under this token has had its grace.
      [self](caf::tick_atom, uint64_t token) { self->state.patience_ends(token); },
  };
}

} // namespace

caf::actor spawn_supervisor(caf::actor_system& system, supervisor_spec spec) {
  return system.spawn(supervise, std::move(spec));
}

caf::actor spawn_supervisor(caf::event_based_actor* parent, supervisor_spec spec) {
  return parent->spawn(supervise, std::move(spec));
}

} // namespace troupe
