#include "actors/instance_lifecycle.hpp"

#include <capnp/schema.h>
#include <catch2/catch.hpp>
#include <map>
#include <set>

using namespace troupe;

namespace {

using enum trigger;
using S = instance_state;
constexpr trigger triggers[] = {start,  started, stop,   force_stop, exited,        freeze,
                                frozen, thaw,    thawed, failed,     still_running, undo_failed};

std::vector<S> all_states() {
  std::vector<S> out;
  for (auto each : capnp::Schema::from<S>().getEnumerants()) out.push_back(static_cast<S>(each.getOrdinal()));
  return out;
}

std::set<S> reachable_from(S first) {
  std::set<S> seen{first};
  for (bool grown = true; grown;) {
    grown = false;
    for (auto& row : instance_transitions)
      if (seen.count(row.from)) grown |= seen.insert(row.to).second;
  }
  return seen;
}

// Written down a second time, as what each state answers to; whatever is not here is refused.
const std::map<S, std::map<trigger, S>> expected{
    {S::STOPPED, {{start, S::STARTING}, {undo_failed, S::ERROR}}},
    {S::ERROR, {{start, S::STARTING}, {exited, S::STOPPED}}},
    {S::STARTING, {{started, S::RUNNING}, {failed, S::STOPPED}, {exited, S::STOPPED}, {undo_failed, S::ERROR}}},
    {S::RUNNING,
     {{stop, S::STOPPING},
      {force_stop, S::STOPPING},
      {freeze, S::FREEZING},
      {exited, S::STOPPED},
      {started, S::RUNNING},
      {undo_failed, S::ERROR}}},
    {S::STOPPING,
     {{force_stop, S::STOPPING},
      {exited, S::STOPPED},
      {still_running, S::RUNNING},
      {started, S::RUNNING},
      {undo_failed, S::ERROR}}},
    {S::FREEZING, {{frozen, S::FROZEN}, {failed, S::RUNNING}, {exited, S::STOPPED}, {undo_failed, S::ERROR}}},
    {S::FROZEN,
     {{thaw, S::THAWING},
      {stop, S::STOPPING},
      {force_stop, S::STOPPING},
      {exited, S::STOPPED},
      {undo_failed, S::ERROR}}},
    {S::THAWING, {{thawed, S::RUNNING}, {failed, S::FROZEN}, {exited, S::STOPPED}, {undo_failed, S::ERROR}}},
};

} // namespace

TEST_CASE("Every pair of state and trigger does what is expected of it, or is refused") {
  for (auto from : all_states())
    for (auto on : triggers) {
      INFO("state " << static_cast<int>(from) << ", trigger " << static_cast<int>(on));
      auto& row = expected.at(from);
      auto wanted = row.find(on);
      CHECK(next(from, on) == (wanted == row.end() ? std::nullopt : std::optional{wanted->second}));
    }
}

TEST_CASE("No pair of state and trigger has two rows") {
  std::set<std::pair<S, trigger>> seen;
  for (auto& row : instance_transitions) CHECK(seen.emplace(row.from, row.on).second);
}

TEST_CASE("From every state an instance can come to run and to be stopped") {
  for (auto from : all_states()) {
    INFO("state " << static_cast<int>(from));
    CHECK(reachable_from(from).count(S::STOPPED));
    CHECK(reachable_from(from).count(S::RUNNING));
  }
}

TEST_CASE("A state on the way ends in success and in failure, and always when the instance ends") {
  for (auto from : {S::STARTING, S::STOPPING, S::FREEZING, S::THAWING}) {
    INFO("state " << static_cast<int>(from));
    std::set<S> ends;
    for (auto on : triggers)
      if (auto to = next(from, on); to && *to != from) ends.insert(*to);
    CHECK(ends.size() >= 2);
  }
  for (auto from : {S::STARTING, S::RUNNING, S::STOPPING, S::FREEZING, S::FROZEN, S::THAWING})
    CHECK(next(from, exited) == S::STOPPED);
}

TEST_CASE("Every state has LXD's word and number") {
  const std::map<S, std::pair<std::string_view, int>> words{
      {S::STOPPED, {"Stopped", 102}},   {S::RUNNING, {"Running", 103}},   {S::STARTING, {"Starting", 106}},
      {S::STOPPING, {"Stopping", 107}}, {S::FREEZING, {"Freezing", 109}}, {S::FROZEN, {"Frozen", 110}},
      {S::THAWING, {"Thawed", 111}},    {S::ERROR, {"Error", 112}},
  };
  REQUIRE(words.size() == all_states().size());
  for (auto& [state, word] : words) {
    CHECK(words_of(state).state == state);
    CHECK(words_of(state).word == word.first);
    CHECK(words_of(state).code == word.second);
    CHECK_FALSE(words_of(state).refusal.empty());
    CHECK_FALSE(words_of(state).refusal.ends_with('.'));
  }
}
