#include "tests/actors/saga_stage.hpp"

using namespace troupe;
using state = schema::Operation::State;

namespace {

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
  // What steps after the commit add is committed for each of them by itself.
  CHECK(s.rows(table::config) == std::map<std::string, std::string>{{"committed", "yes"},
                                                                    {"network.apply", "network.apply"},
                                                                    {"network.make", "network.make"},
                                                                    {"pool.create", "pool.create"},
                                                                    {"volume.clone", "volume.clone"},
                                                                    {"volume.destroy", "volume.destroy"}});
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
  s.let_hung_fail(role::pools);
  auto late = ask();
  s.d.run();
  auto check = [](operation_record& record) {
    CHECK(record.read([](auto op) { return op.getState(); }) == state::FAILED);
  };
  early.receive(check, [](caf::error&) { FAIL(); });
  late.receive(check, [](caf::error&) { FAIL(); });
}
