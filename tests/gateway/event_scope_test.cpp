#include "gateway/event_scope.hpp"

#include "messages/rights.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

namespace {

principal with(std::vector<permission> given) {
  principal out{"alice", "tls", "127.0.0.1:1", ~0u, trust::granted};
  out.given = std::make_shared<const rights>(std::move(given));
  return out;
}

bool may(const principal& who, const std::string& subject) {
  return judge_event_scope(who, false, {subject}).has_value();
}

} // namespace

TEST_CASE("a star in the place of the project is for who may follow the server's own events, too") {
  auto viewer = with({{the_server(), "viewer"}}), guard = with({{the_server(), "can_view_privileged_events"}}),
       both = with({{the_server(), "viewer"}, {the_server(), "can_view_privileged_events"}});
  CHECK(may(viewer, "p.>"));
  CHECK_FALSE(may(viewer, "_.>"));
  CHECK(may(guard, "_.>"));
  for (auto subject : {"*.>", "*.certificate.>", "*.*.*.refused"}) {
    CAPTURE(subject);
    CHECK_FALSE(may(viewer, subject));
    CHECK_FALSE(may(guard, subject));
    CHECK(may(both, subject));
  }
  CHECK_FALSE(may(both, ">")); // of which nobody says what it is
}
