#include "actors/operation_record.hpp"
#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/store_actor.hpp"
#include "tests/support/deterministic_system.hpp"

#include <caf/event_based_actor.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <set>
#include <stdlib.h>

using namespace troupe;
using names = std::vector<std::string>;
using state = schema::Operation::State;

namespace {

const tl::unexpected<error> never = fail(fault::internal, "Not asked for by a saga");

struct no_driver : instance_driver {
  std::string version() const override { return ""; }
  outcome<boot_result> start(const boot_plan&) override { return never; }
  outcome<std::optional<instance_found>> find(const std::string&) override { return never; }
  outcome<std::optional<instance_found>> await_reboot(const std::string&) override { return never; }
  outcome<void> request_stop(pid_t) override { return never; }
  outcome<void> kill(const std::string&, pid_t) override { return never; }
  outcome<void> freeze(const std::string&) override { return never; }
  outcome<void> unfreeze(const std::string&) override { return never; }
  outcome<std::unique_ptr<exec_session>> exec(const std::string&, pid_t, exec_plan) override { return never; }
  outcome<std::string> console_log(const std::string&, bool) override { return never; }
  outcome<file_info> read_file(const file_root&, const std::string&) override { return never; }
  outcome<unique_fd> write_file(const file_root&, const std::string&, const file_write&) override { return never; }
  outcome<void> remove_file(const file_root&, const std::string&) override { return never; }
  usage measure(const std::string&, pid_t) override { return {}; }
  void sweep(const std::string&) override {}
};

struct folder {
  std::string path = "/tmp/troupe-saga-XXXXXX";
  folder() { REQUIRE(::mkdtemp(path.data())); }
  ~folder() { std::filesystem::remove_all(path); }
};

std::unique_ptr<store> open_db(const std::string& path) {
  auto opened = store::open(path, "m1");
  REQUIRE(opened);
  return std::move(*opened);
}

/// The operations actor over a real store, with performers that write down what they are asked.
struct stage {
  names history;
  std::set<std::string> failing; // "do volume.clone", "undo volume.clone"
  std::string hanging;           // the same: never answered
  std::vector<caf::response_promise> hung;

  spdlog::level::level_enum level = log().level();
  folder disk;
  std::unique_ptr<store> db = open_db(disk.path);
  loop io{"saga-test"};
  blocking_pool blocking{1};
  no_driver containers;
  image_store files{disk.path, ""};
  deterministic_system d;
  services with{d.system, io, blocking, *db, containers, files, state_dir{}, "m1", {}};
  caf::actor owner;
  std::vector<caf::actor> actors;

  stage() {
    log().set_level(spdlog::level::off); // failures are what is tested
    enter(role::store, d.system.spawn([this](caf::event_based_actor* self) { return store_actor(self, with); }));
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
    with.forget_all();
    actors.clear();
    owner = nullptr;
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

  template <class Reply>
  caf::result<Reply> perform(caf::event_based_actor* self, const std::string& act, Reply reply) {
    history.push_back(act);
    if (act == hanging) {
      auto later = self->make_response_promise<Reply>();
      hung.push_back(static_cast<caf::response_promise&>(later));
      return later;
    }
    if (failing.count(act)) return to_caf({fault::backend_failed, "No " + act});
    return reply;
  }

  caf::behavior performer(caf::event_based_actor* self) {
    return {
        [this, self](const step_act& request) {
          auto result = std::make_shared<step_result>();
          result->more.writes.push_back({table::config, request.step.kind, request.step.args.at("arg")});
          result->metadata.emplace_back(request.step.kind, "\"" + request.step.args.at("arg") + "\"");
          return perform<step_result_ptr>(self, "do " + request.step.kind, result);
        },
        [this, self](const step_undo& request) {
          return perform<caf::unit_t>(self, "undo " + request.step.kind, caf::unit);
        },
        [](const resume& next) { next.run(); },
    };
  }

  saga make(names before, names after = {}) {
    saga s;
    s.kind = "test.saga";
    s.description = "A test";
    s.head = std::make_shared<header>();
    s.entity = "test/default/t";
    s.owner = owner;
    for (auto& kind : before) s.before.push_back({kind, {{"arg", kind}}});
    for (auto& kind : after) s.after.push_back({kind, {{"arg", kind}}});
    s.commit.writes.push_back({table::config, "committed", "yes"});
    return s;
  }

  outcome<operation_record> begin(saga what) {
    outcome<operation_record> out = never;
    auto asked = d.self->request(with.find(role::operations), caf::infinite,
                                 begin_saga{std::make_shared<const saga>(std::move(what))});
    d.run();
    asked.receive([&](operation_record& record) { out = record; },
                  [&](caf::error& why) { out = tl::unexpected{from_caf(why)}; });
    return out;
  }

  operation_record stored(const operation_record& accepted) {
    auto found = load<schema::Operation>(db->read(), table::operations, id_of(accepted));
    REQUIRE(found);
    return *found;
  }
  state end_of(const operation_record& accepted) {
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

const names three{"pool.create", "volume.clone", "network.make"};

} // namespace

TEST_CASE("Steps are done in order, then committed with what they add, then the rest follows") {
  stage s;
  auto accepted = s.begin(s.make(three, {"network.apply", "volume.destroy"}));
  REQUIRE(accepted);
  CHECK(s.history == names{"do pool.create", "do volume.clone", "do network.make", "do network.apply",
                           "do volume.destroy", "succeeded"});
  CHECK(accepted->read([](auto op) { return op.getState(); }) == state::RUNNING);
  CHECK(s.end_of(*accepted) == state::SUCCEEDED);
  CHECK(s.err_of(*accepted).empty());
  CHECK(s.rows(table::journal).empty());
  // What steps after the commit would add to it comes too late and is not written.
  CHECK(s.rows(table::config) == std::map<std::string, std::string>{{"committed", "yes"},
                                                                    {"network.make", "network.make"},
                                                                    {"pool.create", "pool.create"},
                                                                    {"volume.clone", "volume.clone"}});
  auto metadata = s.stored(*accepted).read([](auto op) { return text(op.getMetadata()); });
  CHECK(metadata.find(R"("volume.destroy":"volume.destroy")") != std::string::npos);
}

TEST_CASE("A saga without steps before its commit is accepted and committed at once") {
  stage s;
  auto accepted = s.begin(s.make({}));
  REQUIRE(accepted);
  CHECK(s.history == names{"succeeded"});
  CHECK(s.committed_now());
  CHECK(s.end_of(*accepted) == state::SUCCEEDED);
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("A saga whose only commit is refused was never accepted") {
  stage s;
  auto what = s.make({}, {"volume.destroy"});
  what.commit.conditions.push_back({table::config, "other", "x"});
  auto refused = s.begin(std::move(what));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == fault::precondition);
  CHECK(s.rows(table::operations).empty());
  CHECK(s.rows(table::journal).empty());
  CHECK(s.rows(table::config).empty());
  CHECK(s.history.size() == 1); // the owner hears of it; no step is done
}

TEST_CASE("A step that fails is undone with those before it, backwards") {
  stage s;
  s.failing = {"do volume.clone"};
  auto accepted = s.begin(s.make(three));
  REQUIRE(accepted);
  CHECK(s.history == names{"do pool.create", "do volume.clone", "undo volume.clone", "undo pool.create",
                           "failed: No do volume.clone"});
  CHECK(s.end_of(*accepted) == state::FAILED);
  CHECK(s.err_of(*accepted) == "No do volume.clone");
  CHECK(s.rows(table::journal).empty());
  CHECK(s.rows(table::config).empty());
}

TEST_CASE("An undo that fails does not keep the others from being undone") {
  stage s;
  s.failing = {"do network.make", "undo volume.clone"};
  auto accepted = s.begin(s.make(three));
  REQUIRE(accepted);
  CHECK(s.history.at(4) == "undo volume.clone");
  CHECK(s.history.at(5) == "undo pool.create");
  CHECK(s.end_of(*accepted) == state::UNKNOWN);
  CHECK(s.err_of(*accepted) == "No do network.make");
  CHECK(s.left_behind(*accepted) == names{"volume.clone: No undo volume.clone"});
}

TEST_CASE("A commit that is refused undoes every step") {
  stage s;
  auto what = s.make(three, {"volume.destroy"});
  what.commit.conditions.push_back({table::config, "other", "x"});
  auto accepted = s.begin(std::move(what));
  REQUIRE(accepted);
  s.history.pop_back();
  CHECK(s.history == names{"do pool.create", "do volume.clone", "do network.make", "undo network.make",
                           "undo volume.clone", "undo pool.create"});
  CHECK(s.end_of(*accepted) == state::ROLLED_BACK);
  CHECK(s.rows(table::config).empty());
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("After a crash before the commit every step is undone, also those never begun") {
  stage s;
  s.hanging = "do volume.clone";
  auto accepted = s.begin(s.make(three, {"volume.destroy"}));
  REQUIRE(accepted);
  CHECK(s.rows(table::journal) == std::map<std::string, std::string>{{id_of(*accepted), "running"}});
  s.crash();
  CHECK(s.history == names{"do pool.create", "do volume.clone", "crash", "undo network.make", "undo volume.clone",
                           "undo pool.create"});
  CHECK(s.end_of(*accepted) == state::ROLLED_BACK);
  CHECK_FALSE(s.committed_now());
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("After a crash while undoing the undoing begins anew") {
  stage s;
  s.failing = {"do volume.clone"};
  s.hanging = "undo pool.create";
  auto accepted = s.begin(s.make(three));
  REQUIRE(accepted);
  s.crash();
  CHECK(s.history == names{"do pool.create", "do volume.clone", "undo volume.clone", "undo pool.create", "crash",
                           "undo network.make", "undo volume.clone", "undo pool.create"});
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("After a crash behind the commit the rest is completed") {
  stage s;
  s.hanging = "do network.apply";
  auto accepted = s.begin(s.make({"volume.clone"}, {"network.apply", "volume.destroy"}));
  REQUIRE(accepted);
  CHECK(s.committed_now());
  CHECK(s.rows(table::journal) == std::map<std::string, std::string>{{id_of(*accepted), "committed"}});
  s.crash();
  CHECK(s.history == names{"do volume.clone", "do network.apply", "crash", "do network.apply", "do volume.destroy"});
  CHECK(s.end_of(*accepted) == state::SUCCEEDED);
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("What failed behind the commit stays in the journal and is tried again at the next start") {
  stage s;
  s.failing = {"do network.apply"};
  auto accepted = s.begin(s.make({}, {"network.apply"}));
  REQUIRE(accepted);
  CHECK(s.end_of(*accepted) == state::UNKNOWN);
  CHECK(s.left_behind(*accepted) == names{"network.apply: No do network.apply"});
  CHECK(s.committed_now());
  CHECK(s.rows(table::journal).at(id_of(*accepted)) == "committed");
  s.failing.clear();
  s.crash();
  CHECK(s.end_of(*accepted) == state::SUCCEEDED);
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("Whoever waits for an operation is answered at its end, and at once when it is over") {
  stage s;
  s.hanging = "do volume.clone";
  auto accepted = s.begin(s.make({"volume.clone"}));
  REQUIRE(accepted);
  auto ask = [&] {
    return s.d.self->request(s.with.find(role::operations), caf::infinite, await_operation{id_of(*accepted)});
  };
  auto early = ask();
  s.d.run();
  CHECK(s.d.self->mailbox().empty());
  s.hanging.clear();
  // A promise is kept in its own actor's context only.
  caf::anon_send(s.with.find(role::pools), resume{[&] {
                   s.hung.front().deliver(to_caf({fault::backend_failed, "Broken"}));
                 }});
  s.d.run();
  auto late = ask();
  s.d.run();
  auto check = [](operation_record& record) {
    CHECK(record.read([](auto op) { return op.getState(); }) == state::FAILED);
  };
  early.receive(check, [](caf::error&) { FAIL(); });
  late.receive(check, [](caf::error&) { FAIL(); });
}
