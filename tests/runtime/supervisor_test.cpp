#include "runtime/actor_error.hpp"
#include "runtime/log.hpp"
#include "runtime/supervisor.hpp"
#include "tests/support/deterministic_system.hpp"

#include <algorithm>
#include <caf/send.hpp>
#include <catch2/catch.hpp>
#include <map>
#include <optional>
#include <stdexcept>

using namespace troupe;
using namespace std::chrono_literals;
using names = std::vector<std::string>;

namespace {

const caf::error user_shutdown = caf::exit_reason::user_shutdown;
const caf::error failed = caf::sec::runtime_error;

/// A stage of supervised actors whose starts ("+a") and ends ("-a") are written down in order.
struct stage {
  names history;
  std::map<std::string, int> starts;
  std::map<std::string, int> refuse; // id: so many of the next starts throw
  spdlog::level::level_enum before = log().level();
  deterministic_system d;
  caf::actor root;

  stage() { log().set_level(spdlog::level::off); } // failures are what is tested
  ~stage() {
    if (root) caf::anon_send_exit(root, caf::exit_reason::kill);
    d.run();
    root = nullptr;
    log().set_level(before);
  }

  actor_spec child(std::string id, restart rule = restart::permanent, bool stubborn = false) {
    auto start = [this, id, stubborn](caf::event_based_actor* parent) -> caf::actor {
      if (refuse[id]-- > 0) throw std::runtime_error{"refused by a test"};
      history.push_back("+" + id);
      ++starts[id];
      return parent->spawn([this, id, stubborn](caf::event_based_actor* self) -> caf::behavior {
        self->attach_functor([this, id](const caf::error&) { history.push_back("-" + id); });
        if (stubborn) self->set_exit_handler([](caf::exit_msg&) {});
        return {[self](const caf::error& reason) { self->quit(reason); }, [](caf::ping_atom) { return 1; }};
      });
    };
    return {id, start, rule, 5s};
  }

  void open(supervisor_spec spec) {
    root = spawn_supervisor(d.system, std::move(spec));
    d.run();
  }

  void open(strategy on_failure, std::vector<actor_spec> children, size_t restarts_max = 3) {
    open({"test", on_failure, restarts_max, 10s, std::move(children)});
  }

  template <class... Ts>
  outcome<caf::actor> ask(Ts... xs) {
    auto answer = d.self->request(root, caf::infinite, xs...);
    d.run();
    REQUIRE(d.self->has_next_message());
    outcome<caf::actor> got = fail(fault::internal, "No answer");
    answer.receive([&](caf::actor& a) { got = a; }, [&](caf::error& e) { got = tl::unexpected{from_caf(e)}; });
    return got;
  }
  outcome<void> remove(const std::string& id) {
    auto answer = d.self->request(root, caf::infinite, remove_child{id});
    d.run();
    REQUIRE(d.self->has_next_message());
    outcome<void> got;
    answer.receive([] {}, [&](caf::error& e) { got = tl::unexpected{from_caf(e)}; });
    return got;
  }
  outcome<caf::actor> find(const std::string& id) { return ask(caf::get_atom::value, id); }

  void end(const std::string& id, const caf::error& reason) {
    caf::anon_send(find(id).value(), reason);
    d.run();
  }

  names take() { return std::exchange(history, {}); }

  /// The reason the supervisor ended with; nullopt while it lives.
  std::optional<caf::error> ended() {
    std::optional<caf::error> reason;
    d.self->monitor(root);
    d.run();
    if (d.self->has_next_message())
      d.self->receive([&](caf::down_msg& msg) { reason = msg.reason; });
    else
      d.self->demonitor(root);
    return reason;
  }
};

names sorted(names of) {
  std::sort(of.begin(), of.end());
  return of;
}

} // namespace

TEST_CASE("children start top to bottom and stop bottom to top") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a"), s.child("b"), s.child("c")});
  CHECK(s.take() == names{"+a", "+b", "+c"});
  caf::anon_send_exit(s.root, caf::exit_reason::user_shutdown);
  s.d.run();
  CHECK(s.take() == names{"-c", "-b", "-a"});
  CHECK(s.ended() == user_shutdown);
}

TEST_CASE("each restart rule decides by how the child ended") {
  struct row {
    restart rule;
    caf::error reason;
    bool restarted;
  };
  const row rows[] = {
      {restart::permanent, failed, true},         {restart::permanent, caf::error{}, true},
      {restart::permanent, user_shutdown, true},  {restart::permanent, caf::exit_reason::kill, true},
      {restart::transient, failed, true},         {restart::transient, caf::error{}, false},
      {restart::transient, user_shutdown, false}, {restart::transient, caf::exit_reason::kill, true},
      {restart::temporary, failed, false},        {restart::temporary, caf::error{}, false},
      {restart::temporary, user_shutdown, false}, {restart::temporary, caf::exit_reason::kill, false},
  };
  for (auto on_failure : {strategy::one_for_one, strategy::rest_for_one, strategy::one_for_all})
    for (auto& r : rows) {
      stage s;
      INFO("strategy " << int(on_failure) << ", rule " << int(r.rule) << ", reason " << to_string(r.reason));
      s.open(on_failure, {s.child("a"), s.child("b", r.rule), s.child("c")});
      s.take();
      s.end("b", r.reason);
      auto history = s.take();
      if (!r.restarted) {
        CHECK(history == names{"-b"});
        CHECK(s.find("b").error().code == (r.rule == restart::temporary ? fault::not_found : fault::busy));
        continue;
      }
      CHECK(s.find("b").has_value());
      if (on_failure == strategy::one_for_one) CHECK(history == names{"-b", "+b"});
      if (on_failure == strategy::rest_for_one) CHECK(history == names{"-b", "-c", "+b", "+c"});
      if (on_failure == strategy::one_for_all) CHECK(history == names{"-b", "-c", "-a", "+a", "+b", "+c"});
    }
}

TEST_CASE("a temporary child that falls with the others does not come back, an ended transient one does") {
  stage s;
  s.open(strategy::one_for_all, {s.child("a"), s.child("b", restart::temporary), s.child("c", restart::transient)});
  s.end("c", caf::error{});
  s.take();
  s.end("a", failed);
  CHECK(s.take() == names{"-a", "-b", "+a", "+c"});
  CHECK(s.find("b").error().code == fault::not_found);
  CHECK(s.find("c").has_value());
}

TEST_CASE("a restarted child has a new handle, found by its id") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a")});
  auto first = s.find("a").value();
  s.end("a", failed);
  auto second = s.find("a").value();
  CHECK(first != second);
  CHECK(s.find("nobody").error().code == fault::not_found);
  CHECK(s.find("nobody").error().message == "No actor nobody below test");
}

TEST_CASE("more restarts than allowed within the period end the supervisor, children in order") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a"), s.child("b"), s.child("c")}, 3);
  for (int i = 0; i < 3; ++i) s.end("b", failed);
  CHECK(s.starts["b"] == 4);
  CHECK_FALSE(s.ended());
  s.take();
  s.end("b", failed);
  CHECK(s.take() == names{"-b", "-c", "-a"});
  CHECK(s.ended() == caf::error{caf::exit_reason::kill});
}

TEST_CASE("restarts older than the period do not count") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a")}, 2);
  for (int i = 0; i < 20; ++i) {
    s.end("a", failed);
    s.d.advance(5001ms); // never more than two within ten seconds
  }
  CHECK(s.starts["a"] == 21);
  CHECK_FALSE(s.ended());
  s.end("a", failed);
  s.end("a", failed);
  CHECK(s.ended());
}

TEST_CASE("the period includes its last instant") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a")}, 1);
  s.end("a", failed);
  s.d.advance(10s);
  s.end("a", failed);
  CHECK(s.ended());
}

TEST_CASE("with no restarts allowed the first failure escalates") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a")}, 0);
  s.end("a", failed);
  CHECK(s.starts["a"] == 1);
  CHECK(s.ended());
}

TEST_CASE("a supervisor that gives up is restarted by its own, and in the end takes that one down") {
  stage s;
  supervisor_spec inner{"inner", strategy::one_for_one, 1, 10s, {s.child("x"), s.child("y")}};
  actor_spec nested{"inner", [inner](caf::event_based_actor* parent) { return spawn_supervisor(parent, inner); }};
  s.open({"outer", strategy::rest_for_one, 1, 10s, {s.child("a"), nested, s.child("z")}});
  auto fail_x = [&] {
    s.d.self->send(s.find("inner").value(), caf::get_atom::value, std::string{"x"});
    s.d.run();
    s.d.self->receive([&](caf::actor& x) { caf::anon_send(x, failed); });
    s.d.run();
  };
  // Two actors start side by side here (z and the inner supervisor), so orders are compared within each.
  s.take();
  fail_x();
  CHECK(s.take() == names{"-x", "+x"});
  fail_x();
  CHECK(sorted(s.take()) == sorted({"-x", "-y", "-z", "+x", "+y", "+z"}));
  fail_x();
  s.take();
  fail_x();
  CHECK(s.take() == names{"-x", "-y", "-z", "-a"});
  CHECK(s.ended() == caf::error{caf::exit_reason::kill});
}

TEST_CASE("who does not leave within its grace is killed, the others wait for it") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a"), s.child("b", restart::permanent, true), s.child("c")});
  s.take();
  caf::anon_send_exit(s.root, caf::exit_reason::user_shutdown);
  s.d.run();
  CHECK(s.take() == names{"-c"});
  s.d.advance(4999ms);
  CHECK(s.take().empty());
  CHECK(s.find("a").has_value()); // those that leave may need those below
  CHECK(s.find("c").error().code == fault::busy);
  CHECK(s.ask(add_child{s.child("d")}).error().code == fault::wrong_state);
  s.d.advance(1ms);
  CHECK(s.take() == names{"-b", "-a"});
  CHECK(s.ended() == user_shutdown);
}

TEST_CASE("a grace that is over does not hit the child asked after it") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a", restart::permanent, true), s.child("b", restart::permanent, true)});
  s.take();
  caf::anon_send_exit(s.root, caf::exit_reason::user_shutdown);
  s.d.run();
  s.d.advance(3s);
  caf::anon_send_exit(s.root, caf::exit_reason::user_shutdown); // asking again changes nothing
  s.d.advance(2s);
  CHECK(s.take() == names{"-b"}); // the grace of a begins now
  s.d.advance(4999ms);
  CHECK(s.take().empty());
  s.d.advance(1ms);
  CHECK(s.take() == names{"-a"});
}

TEST_CASE("ends seen while others are being stopped are handled afterwards") {
  stage s;
  s.open(strategy::rest_for_one, {s.child("a"), s.child("b"), s.child("c", restart::permanent, true)});
  auto a = s.find("a").value(), c = s.find("c").value();
  s.end("b", failed); // c has its grace now
  s.take();
  caf::anon_send(a, failed); // not among those that fall
  s.d.run();
  CHECK(s.take() == names{"-a"});
  caf::anon_send(c, failed); // leaves on its own account: no failure more
  s.d.run();
  CHECK(s.take() == names{"-c", "+b", "+c"}); // the interrupted restart is done; that of a waits for c's grace
  s.d.advance(5s);
  CHECK(s.take() == names{"-c", "-b", "+a", "+b", "+c"});
  CHECK(s.starts == std::map<std::string, int>{{"a", 2}, {"b", 3}, {"c", 3}});
  CHECK_FALSE(s.ended());
}

TEST_CASE("a start that fails is tried again and counts") {
  stage s;
  s.open(strategy::one_for_all, {s.child("a"), s.child("b"), s.child("c")}, 3);
  s.take();
  s.refuse["b"] = 2;
  s.end("c", failed);
  CHECK(s.take() == names{"-c", "-b", "-a", "+a", "-a", "+a", "-a", "+a", "+b", "+c"});
  CHECK_FALSE(s.ended());
  s.refuse["b"] = 1;
  s.end("b", failed);
  CHECK(s.ended());
}

TEST_CASE("a first start that fails ends the supervisor and stops who was started") {
  stage s;
  s.refuse["b"] = 1;
  s.open(strategy::one_for_one, {s.child("a"), s.child("b"), s.child("c")});
  CHECK(s.take() == names{"+a", "-a"});
  CHECK(s.ended() == caf::error{caf::exit_reason::kill});
  s.refuse["b"] = 1;
  s.open(strategy::one_for_one, {s.child("b")});
  CHECK(s.ended() == caf::error{caf::exit_reason::kill});
}

TEST_CASE("two children of one id are refused") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a"), s.child("a")});
  CHECK(s.take() == names{"+a", "-a"});
  CHECK(s.ended());
}

TEST_CASE("a child is added and removed at run time") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a")});
  s.take();
  auto added = s.ask(add_child{s.child("b", restart::transient)});
  REQUIRE(added);
  CHECK(s.find("b") == added);
  CHECK(s.ask(add_child{s.child("b")}).error().code == fault::already_exists);
  s.end("b", failed);
  CHECK(s.find("b").has_value());
  CHECK(s.take() == names{"+b", "-b", "+b"});
  CHECK(s.remove("b").has_value());
  CHECK(s.take() == names{"-b"});
  CHECK(s.find("b").error().code == fault::not_found);
  CHECK(s.remove("b").error().code == fault::not_found);
  s.refuse["c"] = 1;
  CHECK(s.ask(add_child{s.child("c")}).error().code == fault::internal);
  CHECK(s.find("c").error().code == fault::not_found);
}

TEST_CASE("an added child that ends for good is forgotten") {
  stage s;
  s.open(strategy::one_for_one, {});
  for (auto rule : {restart::temporary, restart::transient}) {
    REQUIRE(s.ask(add_child{s.child("b", rule)}));
    s.end("b", caf::error{});
    CHECK(s.find("b").error().code == fault::not_found);
  }
}

TEST_CASE("a removal is answered when the child is gone, and refused when the supervisor stops meanwhile") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a"), s.child("b", restart::permanent, true)});
  auto answer = s.d.self->request(s.root, caf::infinite, remove_child{"b"});
  s.d.run();
  CHECK_FALSE(s.d.self->has_next_message());
  CHECK(s.find("a").has_value());
  caf::anon_send_exit(s.root, caf::exit_reason::user_shutdown);
  s.d.run();
  REQUIRE(s.d.self->has_next_message());
  answer.receive([] { FAIL("It was removed"); }, [](caf::error& e) { CHECK(from_caf(e).code == fault::wrong_state); });
  s.take();
  s.d.advance(5s);
  CHECK(s.take() == names{"-b", "-a"});
}

TEST_CASE("a killed supervisor takes its children along") {
  stage s;
  s.open(strategy::one_for_one, {s.child("a"), s.child("b", restart::permanent, true)});
  s.take();
  caf::anon_send_exit(s.root, caf::exit_reason::kill);
  s.d.run();
  CHECK(sorted(s.take()) == names{"-a", "-b"});
}

TEST_CASE("whatever fails in whatever order, what should run runs in the end, once") {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    INFO("seed " << seed);
    std::minstd_rand dice{seed};
    stage s;
    auto on_failure = static_cast<strategy>(dice() % 3);
    std::vector<actor_spec> children;
    for (char id = 'a'; id < 'f'; ++id) children.push_back(s.child({id}, restart::permanent, dice() % 4 == 0));
    s.open(on_failure, std::move(children), 1000);
    for (int step = 0; step < 10; ++step) {
      std::string id(1, static_cast<char>('a' + dice() % 5));
      if (auto who = s.find(id)) caf::anon_send(*who, failed);
      s.d.run_shuffled(dice());
      if (dice() % 2 == 0) s.d.advance(std::chrono::milliseconds{dice() % 6000});
    }
    for (int i = 0; i < 300; ++i) s.d.advance(5s); // more graces than could be pending
    names running;
    for (auto& line : s.history) {
      auto id = line.substr(1);
      auto at = std::find(running.begin(), running.end(), id);
      bool is_start = line[0] == '+';
      REQUIRE((at == running.end()) == is_start); // never two of one id
      if (is_start)
        running.push_back(id);
      else
        running.erase(at);
    }
    CHECK(sorted(running) == names{"a", "b", "c", "d", "e"});
  }
}

TEST_CASE("errors survive the way through an answer") {
  error mine{fault::in_use, "The pool is in use", "pool/p1"};
  CHECK(from_caf(to_caf(mine)) == mine);
  CHECK(from_caf(caf::sec::request_timeout).code == fault::timed_out);
  CHECK(from_caf(caf::sec::request_receiver_down).code == fault::busy);
  CHECK(from_caf(caf::exit_reason::kill).code == fault::busy);
  CHECK(from_caf(caf::sec::runtime_error).code == fault::internal);
}
