#include "actors/services.hpp"
#include "tests/support/deterministic_system.hpp"

#include <caf/event_based_actor.hpp>
#include <catch2/catch.hpp>

using namespace troupe;

TEST_CASE("The turns of one operation come one after the other, in the order they were asked for") {
  auto turns = std::make_shared<step_turns>();
  std::vector<std::string> history;
  step_turns::turn second, third;
  auto first = turns->take("one", {});
  REQUIRE(first);
  CHECK_FALSE(turns->take("one", [&](auto turn) {
    history.push_back("second");
    second = turn;
  }));
  CHECK_FALSE(turns->take("one", [&](auto turn) {
    history.push_back("third");
    third = turn;
  }));
  CHECK(turns->take("two", {})); // another operation does not wait
  auto copy = first;
  first = nullptr;
  CHECK(history.empty()); // still held
  copy = nullptr;
  CHECK(history == std::vector<std::string>{"second"});
  second = nullptr;
  CHECK(history == std::vector<std::string>{"second", "third"});
  third = nullptr;
  CHECK(turns->take("one", {}));
}

TEST_CASE("A turn that nobody takes any more goes to the next") {
  auto turns = std::make_shared<step_turns>();
  bool came = false;
  auto first = turns->take("one", {});
  static_cast<void>(turns->take("one", [](auto) {})); // its actor has ended
  static_cast<void>(turns->take("one", [&](auto) { came = true; }));
  first = nullptr;
  CHECK(came);
}

TEST_CASE("Who asked an actor that dies at its work is told so") {
  deterministic_system d;
  auto held = std::make_shared<std::vector<sure_promise>>();
  auto worker = d.system.spawn([held](caf::event_based_actor* self) -> caf::behavior {
    self->attach_functor([held] { held->clear(); });
    return {[self, held](int) -> caf::response_promise {
      held->push_back(promise_of(self));
      return held->back();
    }};
  });
  std::vector<std::string> history;
  auto ask = [&] {
    d.system.spawn([&](caf::event_based_actor* self) {
      self->request(worker, caf::infinite, 1)
          .then([&] { history.push_back("done"); },
                [&](const caf::error& why) { history.push_back(std::string{to_string(from_caf(why).code)}); });
    });
    d.run();
  };
  ask();
  caf::anon_send_exit(worker, caf::exit_reason::kill);
  d.run();
  CHECK(history == std::vector<std::string>{"busy"});
  ask(); // it has ended
  CHECK(history == std::vector<std::string>{"busy", "busy"});
}
