#include "actors/event_filter.hpp"

#include <capnp/message.h>
#include <catch2/catch.hpp>

using namespace troupe;

namespace {

event_facts facts(std::string project, std::string kind, std::string name, std::string verb) {
  event_facts out;
  out.project = std::move(project);
  out.kind = std::move(kind);
  out.name = std::move(name);
  out.verb = std::move(verb);
  return out;
}

const event_facts c1_started = facts("default", "instance", "c1", "started");

event_matcher matcher(event_filter filter) {
  auto parsed = event_matcher::parse(filter);
  REQUIRE(parsed);
  return *parsed;
}
bool fits(const std::string& subject, const event_facts& to) { return matcher({{subject}}).matches(to); }

event_facts facts_of_event(const std::string& project, const std::string& kind, const std::string& entity,
                           const std::string& action) {
  capnp::MallocMessageBuilder builder;
  auto event = builder.initRoot<schema::Event>();
  event.setProject(project);
  event.setKind(kind);
  event.setEntity(entity);
  event.setAction(action);
  return facts_of(event.asReader());
}

} // namespace

TEST_CASE("an empty filter wants everything") {
  REQUIRE(matcher({}).matches(c1_started));
  REQUIRE(matcher({}).matches(facts("_", "log", "info", "written")));
}

TEST_CASE("a subject has four parts, a star is one of them and an arrow the rest") {
  for (auto good : {"default.instance.c1.started", "*.instance.c1.started", "default.*.*.*", "*.*.*.*", ">",
                    "default.>", "default.instance.>", "default.instance.c1.>"})
    REQUIRE(fits(good, c1_started));
  for (auto other : {"default.instance.c1.stopped", "_.>", "default.network.>", "default.instance.c.started",
                     "*.*.*.stopped", "default.instance.c2.>"})
    REQUIRE_FALSE(fits(other, c1_started));
}

TEST_CASE("one of several subjects is enough") {
  auto wanted = matcher({{"default.network.>", "*.instance.*.started"}});
  REQUIRE(wanted.matches(c1_started));
  REQUIRE_FALSE(wanted.matches(facts("default", "profile", "p", "created")));
}

TEST_CASE("nonsense is refused with a sentence") {
  for (auto bad : {"", ".", "default", "default.instance", "default.instance.c1", "a.b.c.d.e", "a.b.c.d.>", ">.a",
                   "default.>.c1", "a..c.d", "de*ault.b.c.d", "a.b.c>.d", "a b.c.d.e", "a.b.c.\x01"}) {
    auto parsed = event_matcher::parse({{bad}});
    INFO(bad);
    REQUIRE_FALSE(parsed);
    REQUIRE(parsed.error().code == fault::invalid);
  }
  REQUIRE_FALSE(event_matcher::parse({{std::string(600, 'a') + ".b.c.d"}}));
  REQUIRE_FALSE(event_matcher::parse({std::vector<std::string>(65, ">")}));
  REQUIRE_FALSE(event_matcher::parse({{}, {"lifecycles"}}));
}

TEST_CASE("types, level, operation and principal narrow") {
  using type = schema::Event::Type;
  event_facts event = c1_started;
  event.operation = "0190";
  event.principal = "root";
  REQUIRE(matcher({{}, {"lifecycle", "operation"}}).matches(event));
  REQUIRE_FALSE(matcher({{}, {"operation"}}).matches(event));
  REQUIRE(matcher({{}, {"lifecycle"}}).wants(type::LIFECYCLE));
  REQUIRE_FALSE(matcher({{}, {"lifecycle"}}).wants(type::LOGGING));
  REQUIRE(matcher({{}, {}, schema::Event::Level::INFO}).matches(event));
  REQUIRE_FALSE(matcher({{}, {}, schema::Event::Level::WARNING}).matches(event));
  REQUIRE(matcher({{}, {}, {}, "0190"}).matches(event));
  REQUIRE_FALSE(matcher({{}, {}, {}, "0191"}).matches(event));
  REQUIRE(matcher({{}, {}, {}, {}, "root"}).matches(event));
  REQUIRE_FALSE(matcher({{}, {}, {}, {}, "nobody"}).matches(event));
}

TEST_CASE("the verb is the action without its kind, and the server's project is an underscore") {
  REQUIRE(subject_of(facts_of_event("default", "instance", "c1", "instance-started")) == "default.instance.c1.started");
  REQUIRE(subject_of(facts_of_event("default", "instance", "c1", "instance-state-changed")) ==
          "default.instance.c1.state-changed");
  REQUIRE(subject_of(facts_of_event("", "actor", "events", "actor-restarted")) == "_.actor.events.restarted");
  REQUIRE(subject_of(facts_of_event("default", "server", "server", "config-updated")) ==
          "default.server.server.config-updated");
  REQUIRE(subject_of(facts_of_event("p", "operation", "0190", "Success")) == "p.operation.0190.success");
}

TEST_CASE("whatever a name is, it is one part") {
  REQUIRE(subject_of(facts_of_event("default", "image-alias", "debian/12.1", "image-alias-created")) ==
          "default.image-alias.debian/12%2E1.created");
  auto odd = facts_of_event("default", "profile", "a.b*>% \n", "profile-created");
  REQUIRE(odd.name == "a%2Eb%2A%3E%25%20%0A");
  REQUIRE(fits("default.profile." + odd.name + ".created", odd));
}

TEST_CASE("a snapshot's rows have no verb") {
  auto row = facts("default", "instance", "c1", "_");
  REQUIRE(matcher({{"default.instance.*.started"}}).covers(row));
  REQUIRE(matcher({{"default.>"}, {}, schema::Event::Level::ERROR, {}, "nobody"}).covers(row));
  REQUIRE_FALSE(matcher({{"default.network.>"}}).covers(row));
  REQUIRE_FALSE(matcher({{}, {"operation"}}).covers(row));
}
