#pragma once

#include "actors/operation_record.hpp"
#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/store_actor.hpp"
#include "tests/actors/fakes.hpp"
#include "tests/support/deterministic_system.hpp"

#include <caf/event_based_actor.hpp>
#include <climits>
#include <deque>
#include <map>
#include <set>

namespace troupe {

using names = std::vector<std::string>;

/// What survives a crash beside the store: what the steps have made. And the power switch: everything that happens
/// passes a point before and after, and from the point on that is chosen nothing happens any more.
struct world {
  std::set<std::string> made;
  int points_left = INT_MAX;
  bool dead = false;

  bool pass() {
    if (!dead && points_left-- == 0) dead = true;
    return !dead;
  }
};

/// The operations actor over a real store, with performers that write down what they are asked.
struct stage {
  std::unique_ptr<folder> own_disk;
  world own_world;
  std::string path;
  world& around;
  names history;
  std::set<std::string> failing; // "do volume.clone", "undo volume.clone"
  std::string hanging;           // the same: never answered
  std::vector<caf::response_promise> hung;

  spdlog::level::level_enum level = log().level();
  std::unique_ptr<store> db = open_db(path);
  loop io{"saga-test"};
  blocking_pool blocking{1};
  no_driver containers;
  image_store files{path, ""};
  deterministic_system d;
  services with{d.system, io, blocking, *db, containers, containers, files, state_dir{}, "m1", {}};
  caf::actor owner, real_store;
  caf::strong_actor_ptr last_asker; // the operation's actor that asked for the last act
  std::vector<caf::actor> actors;

  bool store_held = false;
  struct proposal {
    propose what;
    caf::response_promise answer;
  };
  std::deque<proposal> proposals; // while it is held

  stage() : own_disk{std::make_unique<folder>()}, path{own_disk->path}, around{own_world} { set_up(); }
  /// Over a store and a world that were there before.
  stage(std::string where, world& w, std::set<std::string> fails = {})
      : path{std::move(where)}, around{w}, failing{std::move(fails)} {
    set_up();
  }
  stage(const stage&) = delete;

  void set_up() {
    log().set_level(spdlog::level::off); // failures are what is tested
    real_store = d.system.spawn([this](caf::event_based_actor* self) { return store_actor(self, with); });
    actors.push_back(real_store);
    enter(role::store, d.system.spawn([this](caf::event_based_actor* self) { return store_gate(self); }));
    enter(role::events, d.system.spawn([]() -> caf::behavior { return {[](const committed_ptr&) {}}; }));
    for (auto who : {role::pools, role::networks, role::images})
      enter(who, d.system.spawn([this](caf::event_based_actor* self) { return performer(self); }));
    owner = d.system.spawn([this]() -> caf::behavior {
      return {[this](const operation_ended& end) {
        history.push_back(end.succeeded ? "succeeded" : "failed: " + end.why.message);
      }};
    });
    actors.push_back(owner);
    open_operations();
  }

  ~stage() {
    for (auto& each : actors) caf::anon_send_exit(each, caf::exit_reason::kill);
    d.run();
    hung.clear();
    proposals.clear();
    with.forget_all();
    actors.clear();
    last_asker = nullptr;
    owner = nullptr;
    real_store = nullptr;
    d.run();
    log().set_level(level);
  }

  void enter(role who, const caf::actor& actor) {
    with.enter(who, actor);
    actors.push_back(actor);
  }

  void open_operations() {
    enter(role::operations, d.system.spawn([this](caf::event_based_actor* self) { return operations(self, with); }));
    d.run();
  }

  /// The daemon dies and comes back: nothing but the store is left.
  void crash() {
    caf::anon_send_exit(with.find(role::operations), caf::exit_reason::kill);
    d.run();
    hung.clear();
    hanging.clear();
    d.run();
    history.push_back("crash");
    open_operations();
  }

  void pass_on(caf::event_based_actor* self, const propose& what, caf::response_promise answer) {
    if (!around.pass()) return hung.push_back(answer);
    self->request(real_store, caf::infinite, what)
        .then(
            [this, answer](const committed_ptr& done) mutable {
              if (around.pass())
                answer.deliver(done);
              else
                hung.push_back(answer);
            },
            [answer](caf::error& why) mutable { answer.deliver(std::move(why)); });
  }

  caf::behavior store_gate(caf::event_based_actor* self) {
    return {
        [this, self](const propose& what) {
          auto answer = self->make_response_promise();
          if (store_held)
            proposals.push_back({what, answer});
          else
            pass_on(self, what, answer);
          return answer;
        },
        [](const resume& next) { next.run(); },
        // Lets the first proposal that waits go on, or the last.
        [this, self](bool first) {
          auto next = first ? proposals.front() : proposals.back();
          first ? proposals.pop_front() : proposals.pop_back();
          pass_on(self, next.what, next.answer);
        },
    };
  }

  void let_one_proposal_go(bool first = true) {
    REQUIRE_FALSE(proposals.empty());
    caf::anon_send(with.find(role::store), first);
    d.run();
  }
  void let_the_store_go() {
    store_held = false;
    while (!proposals.empty()) let_one_proposal_go();
  }

  template <class Reply>
  caf::result<Reply> perform(caf::event_based_actor* self, const std::string& act, Reply reply) {
    auto hang = [&] { // made only then: a promise takes the place of the returned reply
      auto later = self->make_response_promise<Reply>();
      hung.push_back(static_cast<caf::response_promise&>(later));
      return later;
    };
    if (!around.pass()) return hang();
    history.push_back(act);
    bool fails = failing.count(act);
    auto space = act.find(' ');
    if (act.starts_with("do "))
      around.made.insert(act.substr(space + 1)); // also when it fails: half of it
    else if (!fails)
      around.made.erase(act.substr(space + 1));
    if (act == hanging || !around.pass()) return hang();
    if (fails) return to_caf({fault::backend_failed, "No " + act});
    return reply;
  }

  caf::behavior performer(caf::event_based_actor* self) {
    return {
        [this, self](const step_act& request) {
          last_asker = self->current_sender();
          auto result = std::make_shared<step_result>();
          result->more.writes.push_back({table::config, request.step.kind, request.step.args.at("arg")});
          result->metadata.emplace_back(request.step.kind, "\"" + request.step.args.at("arg") + "\"");
          return perform<step_result_ptr>(self, "do " + request.step.kind, result);
        },
        [this, self](const step_undo& request) {
          return perform<caf::unit_t>(self, "undo " + request.step.kind, caf::unit);
        },
        [this](const step_interrupt& request) {
          history.push_back("interrupt " + request.step.kind);
          fail_hung({fault::cancelled, "Interrupted"});
        },
        [](const resume& next) { next.run(); },
    };
  }

  /// In a performer's context: what hangs is answered.
  void fail_hung(const error& why) {
    auto all = std::exchange(hung, {});
    for (auto& each : all) each.deliver(to_caf(why));
  }
  void let_hung_fail(role whose) {
    hanging.clear();
    caf::anon_send(with.find(whose), resume{[this] { fail_hung({fault::backend_failed, "Broken"}); }});
    d.run();
  }
  void let_hung_succeed(role whose) {
    hanging.clear();
    caf::anon_send(with.find(whose), resume{[this] {
                     auto all = std::exchange(hung, {});
                     for (auto& each : all) each.deliver(step_result_ptr{std::make_shared<step_result>()});
                   }});
    d.run();
  }

  saga make(names before, names after = {}) {
    saga s;
    s.kind = "profile.update";
    s.description = "A test";
    s.head = std::make_shared<header>();
    s.entity = "test/default/t";
    s.owner = owner;
    for (auto& kind : before) s.before.push_back({kind, {{"arg", kind}}});
    for (auto& kind : after) s.after.push_back({kind, {{"arg", kind}}});
    s.commit.writes.push_back({table::config, "committed", "yes"});
    return s;
  }

  /// Asks the operations actor; `never` if it does not answer now.
  template <class Reply, class Request>
  outcome<Reply> ask(Request request) {
    using value = std::conditional_t<std::is_void_v<Reply>, caf::unit_t, Reply>;
    auto out = std::make_shared<outcome<Reply>>(never);
    auto asker = d.system.spawn([&](caf::event_based_actor* self) {
      auto asked = self->request(with.find(role::operations), caf::infinite, request);
      auto failed = [out](const caf::error& why) { *out = tl::unexpected{from_caf(why)}; };
      if constexpr (std::is_void_v<Reply>)
        asked.then([out] { *out = {}; }, failed);
      else
        asked.then([out](const value& reply) { *out = reply; }, failed);
    });
    d.run();
    return *out;
  }

  outcome<operation_record> begin(saga what) {
    return ask<operation_record>(begin_saga{std::make_shared<const saga>(std::move(what))});
  }
  operation_record now(const operation_record& accepted) {
    auto found = ask<operation_record>(find_operation{id_of(accepted)});
    REQUIRE(found);
    return *found;
  }
  outcome<void> cancel(const operation_record& accepted) {
    return ask<void>(cancel_operation{id_of(accepted), std::make_shared<header>()});
  }

  operation_record stored(const operation_record& accepted) {
    auto found = load<schema::Operation>(db->read(), table::operations, id_of(accepted));
    REQUIRE(found);
    return *found;
  }
  schema::Operation::State end_of(const operation_record& accepted) {
    return stored(accepted).read([](auto op) { return op.getState(); });
  }
  std::string err_of(const operation_record& accepted) {
    return stored(accepted).read([](auto op) { return text(op.getErr()); });
  }
  names left_behind(const operation_record& accepted) {
    names out;
    stored(accepted).read([&](schema::Operation::Reader op) {
      for (auto step : op.getSteps())
        if (step.getState() == schema::Step::State::LEFT)
          out.push_back(text(step.getKind()) + ": " + text(step.getProblem()));
    });
    return out;
  }
  std::map<std::string, std::string> rows(table where) {
    std::map<std::string, std::string> found;
    db->read().scan(where, "", [&](auto key, auto value) { return found.emplace(key, value), true; });
    return found;
  }
  bool committed_now() { return rows(table::config).count("committed"); }
};

} // namespace troupe
