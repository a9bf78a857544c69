#include "tests/actors/saga_stage.hpp"

#include "actors/operation_view.hpp"

using namespace troupe;
using state = schema::Operation::State;
using effect = schema::CancelEffect;

namespace {

effect effect_of(const operation_record& record) {
  return record.read([](schema::Operation::Reader op) {
    CHECK(op.getMayCancel() == (op.getCancelEffect() != effect::NO));
    return op.getCancelEffect();
  });
}

saga cancellable(stage& s, names before, names after = {}) {
  auto what = s.make(std::move(before), std::move(after));
  what.may_cancel = true;
  return what;
}

saga keyed(stage& s, std::string id, std::string digest = "d") {
  auto what = s.make({});
  auto head = std::make_shared<header>();
  head->request_id = std::move(id);
  head->request_digest = std::move(digest);
  what.head = head;
  return what;
}

} // namespace

// ---- a commit on its way, and a recovery

TEST_CASE("A commit that reaches the store before the recovery's mark is completed, not undone") {
  stage s;
  s.hanging = "do volume.clone";
  auto accepted = s.begin(s.make({"volume.clone"}, {"network.apply"}));
  REQUIRE(accepted);
  s.store_held = true;
  s.let_hung_succeed(role::pools); // the commit is on its way
  REQUIRE(s.proposals.size() == 1);
  s.crash(); // the operations actor only
  REQUIRE(s.proposals.size() == 2);
  s.let_the_store_go();
  CHECK(s.committed_now());
  CHECK(s.end_of(*accepted) == state::SUCCEEDED);
  CHECK(s.history == names{"do volume.clone", "crash", "do network.apply"});
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("A commit that reaches the store behind the recovery's mark is refused") {
  stage s;
  s.hanging = "do volume.clone";
  auto accepted = s.begin(s.make({"volume.clone"}, {"network.apply"}));
  REQUIRE(accepted);
  s.store_held = true;
  s.let_hung_succeed(role::pools);
  s.crash();
  REQUIRE(s.proposals.size() == 2);
  s.let_one_proposal_go(false); // the mark overtakes the commit
  s.let_the_store_go();
  CHECK_FALSE(s.committed_now());
  CHECK(s.end_of(*accepted) == state::ROLLED_BACK);
  CHECK(s.history == names{"do volume.clone", "crash", "undo volume.clone"});
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("An operation's actor that fails is replaced by one that finishes what it had begun") {
  stage s;
  s.hanging = "do volume.clone";
  auto accepted = s.begin(s.make({"pool.create", "volume.clone"}));
  REQUIRE(accepted);
  caf::anon_send_exit(caf::actor_cast<caf::actor>(s.last_asker), caf::exit_reason::kill);
  s.d.run();
  CHECK(s.end_of(*accepted) == state::ROLLED_BACK);
  CHECK(s.around.made.empty());
  CHECK(s.rows(table::journal).empty());
}

// ---- cancel

TEST_CASE("A cancel says beforehand what it will do, and does it") {
  stage s;
  SECTION("a step that cannot be interrupted goes to its end, then all is undone") {
    s.hanging = "do pool.create";
    auto accepted = s.begin(cancellable(s, {"pool.create", "volume.clone"}));
    CHECK(effect_of(s.now(*accepted)) == effect::AFTER_STEP);
    REQUIRE(s.cancel(*accepted));
    CHECK(state_of(s.now(*accepted)) == state::CANCELLING);
    CHECK(s.end_of(*accepted) == state::CANCELLING); // and on disk
    CHECK(effect_of(s.now(*accepted)) == effect::NO);
    CHECK(s.cancel(*accepted).error().code == fault::invalid);
    s.let_hung_succeed(role::pools);
    CHECK(s.end_of(*accepted) == state::CANCELLED);
    CHECK(s.history == names{"do pool.create", "undo pool.create", "failed: The operation was cancelled"});
  }
  SECTION("the first step is interrupted where it can be") {
    s.hanging = "do volume.clone";
    auto accepted = s.begin(cancellable(s, {"volume.clone", "network.make"}));
    CHECK(effect_of(*accepted) == effect::NOW);
    REQUIRE(s.cancel(*accepted));
    CHECK(s.end_of(*accepted) == state::CANCELLED);
    CHECK(s.history == names{"do volume.clone", "interrupt volume.clone", "undo volume.clone", "failed: Interrupted"});
  }
  SECTION("a later step is interrupted, and those before it are undone") {
    s.hanging = "do volume.clone";
    auto accepted = s.begin(cancellable(s, {"pool.create", "volume.clone"}));
    CHECK(effect_of(s.now(*accepted)) == effect::WILL_UNDO);
    REQUIRE(s.cancel(*accepted));
    CHECK(s.end_of(*accepted) == state::CANCELLED);
    CHECK(s.around.made.empty());
  }
  CHECK(s.rows(table::journal).empty());
}

TEST_CASE("Once the commit or the undoing has begun, a cancel is refused and was not offered") {
  stage s;
  SECTION("the commit") {
    s.hanging = "do volume.clone";
    auto accepted = s.begin(cancellable(s, {"volume.clone"}));
    s.store_held = true;
    s.let_hung_succeed(role::pools);
    CHECK(effect_of(s.now(*accepted)) == effect::NO);
    CHECK(state_of(s.now(*accepted)) == state::RUNNING); // nobody is told of an end that is not on disk
    CHECK(s.cancel(*accepted).error().code == fault::invalid);
    s.let_the_store_go();
    CHECK(s.end_of(*accepted) == state::SUCCEEDED);
  }
  SECTION("the undoing") {
    s.failing = {"do volume.clone"};
    s.hanging = "undo volume.clone";
    auto accepted = s.begin(cancellable(s, {"volume.clone"}));
    CHECK(effect_of(s.now(*accepted)) == effect::NO);
    CHECK(s.cancel(*accepted).error().code == fault::invalid);
  }
  SECTION("what comes after the commit") {
    s.hanging = "do network.apply";
    auto accepted = s.begin(cancellable(s, {"volume.clone"}, {"network.apply"}));
    CHECK(effect_of(s.stored(*accepted)) == effect::NO);
    CHECK(s.cancel(*accepted).error().code == fault::invalid);
  }
}

TEST_CASE("A cancel that was taken holds after a crash") {
  stage s;
  s.hanging = "do pool.create";
  auto accepted = s.begin(cancellable(s, {"pool.create"}));
  REQUIRE(s.cancel(*accepted));
  s.crash();
  CHECK(s.end_of(*accepted) == state::CANCELLED);
}

// ---- idempotent submit

TEST_CASE("A request id that has begun an operation is answered with it, also after a crash") {
  stage s;
  auto what = keyed(s, "one");
  auto accepted = s.begin(what);
  REQUIRE(accepted);
  for (int round = 0; round < 2; ++round) {
    auto again = s.ask<claim_answer>(claim_request{what.head});
    if (!again) FAIL(round << ": " << again.error().message);
    REQUIRE(again->same);
    CHECK(id_of(*again->same) == id_of(*accepted));
    CHECK(s.ask<claim_answer>(claim_request{keyed(s, "one", "other").head}).error().code == fault::already_exists);
    s.crash();
  }
}

TEST_CASE("While a request id is being used, others with it wait for what comes of it") {
  stage s;
  auto what = keyed(s, "two");
  auto first = s.ask<claim_answer>(claim_request{what.head});
  REQUIRE(first);
  REQUIRE(first->hold);
  CHECK(s.ask<claim_answer>(claim_request{keyed(s, "two", "other").head}).error().code == fault::already_exists);
  std::vector<outcome<claim_answer>> answers;
  auto waiter = [&](caf::event_based_actor* self) {
    self->request(s.with.find(role::operations), caf::infinite, claim_request{what.head})
        .then([&](const claim_answer& answer) { answers.emplace_back(answer); }, [](const caf::error&) { FAIL(); });
  };
  s.d.system.spawn(waiter);
  s.d.system.spawn(waiter);
  s.d.run();
  CHECK(answers.empty());
  SECTION("nothing: the next may try") {
    first->hold.reset();
    s.d.run();
    REQUIRE(answers.size() == 1);
    CHECK(answers[0]->hold);
    answers.clear();
    s.d.run();
    CHECK(answers.size() == 1);
  }
  SECTION("an operation: all get it") {
    auto accepted = s.begin(what);
    REQUIRE(accepted);
    first->hold.reset();
    s.d.run();
    REQUIRE(answers.size() == 2);
    for (auto& each : answers) CHECK(id_of(*each->same) == id_of(*accepted));
  }
}

// ---- dry run

TEST_CASE("A plan is answered from the saga and changes nothing") {
  stage s;
  auto what = s.make({"volume.clone"}, {"network.apply"});
  auto head = std::make_shared<header>();
  head->plan = true;
  what.head = head;
  what.at_restart = {"security.nesting"};
  auto seq = s.db->last_seq();
  SECTION("possible") {
    auto forecast = s.begin(what);
    REQUIRE(forecast);
    plan_of(*forecast).read([](schema::OperationPlan::Reader plan) {
      CHECK(plan.getPossible());
      CHECK(plan.getNeedsRestart());
      REQUIRE(plan.getSteps().size() == 2);
      CHECK(text(plan.getSteps()[0].getUndo()) == "destroy the volume");
      CHECK(plan.getSteps()[1].getAfter());
    });
  }
  SECTION("a condition that does not hold") {
    what.commit.conditions.push_back({table::config, "other", "x"});
    plan_of(*s.begin(what)).read([](schema::OperationPlan::Reader plan) {
      CHECK_FALSE(plan.getPossible());
      CHECK(text(plan.getRestrictions()[0].getCode()) == "precondition");
    });
  }
  CHECK(s.history == names{"succeeded"}); // the owner is free again
  CHECK(s.rows(table::operations).empty());
  CHECK(s.rows(table::operation_entities).empty());
  CHECK(s.db->last_seq() == seq);
}

// ---- history and retention

TEST_CASE("An entity's operations and an operation's children are found by an index") {
  stage s;
  auto parent = s.begin(s.make({}));
  auto child = s.make({});
  auto head = std::make_shared<header>();
  head->parent = id_of(*parent);
  child.head = head;
  child.entity = "test/default/other";
  auto accepted = s.begin(child);
  auto records = s.db->read();
  CHECK(operations_of(records, "test/default/t") == names{id_of(*parent)});
  CHECK(operations_of(records, "test/default/oth").empty());
  details_of(*parent, records).read([&](schema::OperationDetails::Reader details) {
    REQUIRE(details.getChildren().size() == 1);
    CHECK(text(details.getChildren()[0]) == "/1.0/operations/" + id_of(*accepted));
  });
}

TEST_CASE("What ended before the retention goes, with its indexes; what has ended since or still runs stays") {
  folder disk;
  world w;
  constexpr int64_t day = 24LL * 3600 * 1'000'000'000;
  auto old_id = first_id_of(now_ns() - 9 * day) + "-7000-8000-000000000000";
  auto late_id = first_id_of(now_ns() - 9 * day) + "-7000-8000-000000000001";
  {
    stage s{disk.path, w};
    auto what = keyed(s, "old");
    auto insert = [&](const saga& from, const std::string& id, int64_t ended) {
      auto record =
          changed(in_state(make_record(from, id, "m1"), state::SUCCEEDED), [&](auto op) { op.setUpdatedAt(ended); });
      batch change;
      add_writes(change, record, {});
      add_index(change, record, "d");
      REQUIRE(s.db->commit(std::span{&change, 1}).front());
    };
    insert(what, old_id, now_ns() - 8 * day);
    insert(s.make({}), late_id, now_ns() - 6 * day);
    REQUIRE(s.rows(table::operation_requests).size() == 1);
  }
  stage s{disk.path, w};
  CHECK_FALSE(s.rows(table::operations).count(old_id));
  CHECK(s.rows(table::operations).count(late_id));
  CHECK(s.rows(table::operation_entities).size() == 1);
  CHECK(s.rows(table::operation_requests).empty());
}

// ---- unknown

TEST_CASE("Where something was left behind nothing new begins before that was tried again") {
  stage s;
  s.failing = {"do volume.clone", "undo volume.clone"};
  auto first = s.begin(s.make({"volume.clone"}));
  REQUIRE(first);
  CHECK(s.end_of(*first) == state::UNKNOWN);
  SECTION("in vain") {
    auto second = s.begin(s.make({"pool.create"}));
    REQUIRE_FALSE(second);
    CHECK(second.error().code == fault::wrong_state);
    CHECK(second.error().entity == "/1.0/operations/" + id_of(*first));
    CHECK(s.end_of(*first) == state::UNKNOWN);
    CHECK_FALSE(s.around.made.count("pool.create"));
  }
  SECTION("with success") {
    s.failing.clear();
    CHECK(s.begin(s.make({"pool.create"})).error().code == fault::busy); // it was judged by what was before
    auto second = s.begin(s.make({"pool.create"}));
    REQUIRE(second);
    CHECK(s.end_of(*first) == state::ROLLED_BACK);
    CHECK(s.err_of(*first) == "No do volume.clone"); // the reason stays the first one
    CHECK(s.end_of(*second) == state::SUCCEEDED);
  }
  SECTION("others are not concerned") {
    auto other = s.make({"pool.create"});
    other.entity = "test/default/other";
    REQUIRE(s.begin(other));
  }
}

TEST_CASE("Progress is shown at the step, with its rate, to whoever asks") {
  stage s;
  s.hanging = "do volume.clone";
  auto accepted = s.begin(s.make({"volume.clone"}));
  caf::anon_send(s.with.find(role::operations),
                 operation_progress{id_of(*accepted), "unpack_progress", "Unpack: 50%", "bytes", 512, 1024});
  s.d.run();
  s.now(*accepted).read([](schema::Operation::Reader op) {
    auto step = op.getSteps()[0];
    CHECK(step.getDone() == 512);
    CHECK(step.getTotal() == 1024);
    CHECK(text(step.getUnit()) == "bytes");
    CHECK(step.getRate() > 0);
    CHECK(text(op.getMetadata()) == R"({"unpack_progress":"Unpack: 50%"})");
  });
}

// ---- killed anywhere

namespace {

struct scenario {
  const char* what;
  names before, after;
  std::set<std::string> failing;
  bool refused = false; // the commit
  std::set<state> ends;
};

const scenario scenarios[] = {
    {"all goes well",
     {"pool.create", "volume.clone"},
     {"network.apply"},
     {},
     false,
     {state::SUCCEEDED, state::ROLLED_BACK}},
    {"no steps before the commit", {}, {"network.apply"}, {}, false, {state::SUCCEEDED}},
    {"no steps behind the commit", {"volume.clone"}, {}, {}, false, {state::SUCCEEDED, state::ROLLED_BACK}},
    {"a step fails",
     {"pool.create", "volume.clone"},
     {"network.apply"},
     {"do volume.clone"},
     false,
     {state::FAILED, state::ROLLED_BACK}},
    {"the commit is refused", {"pool.create"}, {"network.apply"}, {}, true, {state::ROLLED_BACK}},
    {"an undoing fails",
     {"pool.create", "volume.clone"},
     {},
     {"do volume.clone", "undo pool.create"},
     false,
     {state::UNKNOWN}},
    {"what follows the commit fails",
     {"pool.create"},
     {"network.apply"},
     {"do network.apply"},
     false,
     {state::UNKNOWN, state::ROLLED_BACK}},
};

void begin_and_forget(stage& s, const scenario& from) {
  auto what = s.make(from.before, from.after);
  s.failing = from.failing;
  if (from.refused) what.commit.conditions.push_back({table::config, "other", "x"});
  caf::anon_send(s.with.find(role::operations), begin_saga{std::make_shared<const saga>(std::move(what))});
  s.d.run();
}

void check_the_end(stage& s, const world& w, const scenario& from) {
  auto operations = s.rows(table::operations);
  if (operations.empty()) { // it was never accepted
    CHECK(w.made.empty());
    CHECK(s.rows(table::journal).empty());
    CHECK_FALSE(s.committed_now());
    return;
  }
  auto record = operation_record::from_bytes(operations.begin()->second);
  auto how = state_of(record);
  INFO("ended as " << static_cast<int>(how));
  CHECK(from.ends.count(how));
  auto all = std::set<std::string>(from.before.begin(), from.before.end());
  all.insert(from.after.begin(), from.after.end());
  CHECK(s.committed_now() == (how == state::SUCCEEDED || (how == state::UNKNOWN && !from.after.empty())));
  if (how == state::UNKNOWN) { // the inventory holds all that is there beside what was committed
    std::set<std::string> left;
    for (auto& each : s.left_behind(record)) left.insert(each.substr(0, each.find(':')));
    CHECK_FALSE(left.empty());
    // What was never begun may stand there too: nobody could tell that it is not there.
    if (!s.committed_now()) CHECK(std::includes(left.begin(), left.end(), w.made.begin(), w.made.end()));
    CHECK(s.rows(table::journal).size() == 1);
  } else {
    CHECK(w.made == (how == state::SUCCEEDED ? all : std::set<std::string>{}));
    CHECK(s.rows(table::journal).empty());
  }
}

} // namespace

TEST_CASE("Killed at any point, an operation ends succeeded, undone, or unknown with an inventory") {
  for (auto& each : scenarios)
    for (int points = 0;; ++points) {
      INFO(each.what << ", killed at point " << points);
      folder disk;
      world w;
      w.points_left = points;
      {
        stage s{disk.path, w};
        begin_and_forget(s, each);
      }
      bool whole = !w.dead;
      w.points_left = INT_MAX;
      w.dead = false;
      stage s{disk.path, w, each.failing};
      check_the_end(s, w, each);
      if (whole) break;
    }
}
