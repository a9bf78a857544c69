#include "store_fixture.hpp"

#include <capnp/any.h>
#include <random>

using namespace troupe;
using namespace troupe::test;

TEST_CASE("a batch changes both environments and its events are numbered, owned and dated") {
  scratch_folder folder;
  auto s = open_store(folder.path);
  REQUIRE(s->epoch() == 1);
  REQUIRE(s->last_seq() == 0);
  REQUIRE(s->first_seq() == 1);
  auto done = commit_one(*s, numbered_batch(1));
  REQUIRE(done);
  REQUIRE(done->index == 1);
  REQUIRE(done->events.size() == 2);
  done->events[1].read([](schema::Event::Reader e) {
    REQUIRE(e.getSeq() == 2);
    REQUIRE(e.getEpoch() == 1);
    REQUIRE(e.getMember() == "m1");
    REQUIRE(e.getTime() > 1'600'000'000'000'000'000);
    REQUIRE(e.getAction() == "instance-started");
  });
  REQUIRE(contents(*s, table::events)[event_key(2)] == done->events[1].bytes());
  REQUIRE(require_in_step(*s) == 1);
  REQUIRE(s->last_seq() == 2);
}

TEST_CASE("an event keeps the time it has and the fields that only a newer daemon knows") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path);
  capnp::MallocMessageBuilder builder;
  auto newer = builder.getRoot<capnp::AnyPointer>().initAsAnyStruct(10, 12); // larger than Event is
  newer.getDataSection()[79] = 0x5a;
  newer.as<schema::Event>().setTime(77);
  newer.as<schema::Event>().setKind("instance");
  auto done = commit_one(*s, {{}, {}, {message<schema::Event>::of(builder)}});
  REQUIRE(done);
  done->events[0].read([](schema::Event::Reader e) {
    REQUIRE(e.getTime() == 77);
    REQUIRE(e.getSeq() == 1);
    capnp::AnyStruct::Reader whole = e;
    REQUIRE(whole.getDataSection().size() == 80);
    REQUIRE(whole.getDataSection()[79] == 0x5a);
  });
}

TEST_CASE("records are read, scanned by prefix, and deleted") {
  bool in_lmdb = GENERATE(false, true);
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path, by_hand);
  REQUIRE(commit_one(*s, {{},
                          {{table::config, "a/1", "one"},
                           {table::config, "a/2", ""},
                           {table::config, "b/1", "three"},
                           {table::journal, "a/1", "local"}},
                          {}}));
  if (in_lmdb) REQUIRE(s->checkpoint());
  {
    snapshot view = s->read();
    REQUIRE(view.get(table::config, "a/1") == "one");
    REQUIRE(view.get(table::config, "a/2") == "");
    REQUIRE(view.get(table::config, "a") == std::nullopt);
    REQUIRE(view.get(table::config, "") == std::nullopt);
    REQUIRE(view.get(table::config, std::string(5000, 'k')) == std::nullopt);
    REQUIRE(view.get(table::journal, "a/1") == "local");
    std::string from;
    view.scan_from(table::config, "a/2", [&](std::string_view key, std::string_view) {
      from.append(key).append(" ");
      return true;
    });
    REQUIRE(from == "a/2 b/1 ");
    int visits = 0;
    view.scan(table::config, "", [&](std::string_view, std::string_view) { return ++visits < 2; });
    REQUIRE(visits == 2);
  }
  REQUIRE(contents(*s, table::config, "a/").size() == 2);
  REQUIRE(commit_one(*s, {{}, {{table::config, "a/1", std::nullopt}, {table::config, "absent", std::nullopt}}, {}}));
  REQUIRE(contents(*s, table::config).size() == 2);
}

TEST_CASE("a snapshot does not see what is committed after it") {
  bool old_in_lmdb = GENERATE(false, true), new_in_lmdb = GENERATE(false, true);
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path, by_hand);
  REQUIRE(commit_one(*s, {{}, {{table::config, "k", "old"}, {table::journal, "k", "old"}}, {}}));
  if (old_in_lmdb) REQUIRE(s->checkpoint());
  snapshot before = s->read();
  REQUIRE(commit_one(*s, {{}, {{table::config, "k", "new"}, {table::journal, "k", "new"}}, {}}));
  if (new_in_lmdb) REQUIRE(s->checkpoint());
  REQUIRE(before.get(table::config, "k") == "old");
  REQUIRE(before.get(table::journal, "k") == "old");
  snapshot moved = std::move(before);
  REQUIRE(moved.get(table::config, "k") == "old");
  REQUIRE(s->read().get(table::config, "k") == "new");
}

TEST_CASE("scans go through the log's side and LMDB's as one, whatever was changed or deleted on either") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path, by_hand);
  std::map<std::string, std::string> expected;
  std::mt19937 dice{Catch::rngSeed()};
  for (int round = 0; round < 60; ++round) {
    std::vector<batch> batches(1 + dice() % 3);
    for (batch& b : batches)
      for (int i = 0; i < 5; ++i) {
        std::string key = record_name(static_cast<int>(dice() % 40));
        std::optional<std::string> value;
        if (dice() % 3) value = std::to_string(dice());
        b.writes.push_back({table::config, key, value});
        value ? void(expected[key] = *value) : void(expected.erase(key));
      }
    for (const auto& done : s->commit(batches)) REQUIRE(done);
    if (dice() % 4 == 0) REQUIRE(s->checkpoint());
    REQUIRE(contents(*s, table::config) == expected);
    snapshot view = s->read();
    for (int i = 0; i < 40; ++i) {
      auto at = expected.find(record_name(i));
      auto found = view.get(table::config, record_name(i));
      REQUIRE(found.has_value() == (at != expected.end()));
      if (found) REQUIRE(*found == at->second);
    }
    size_t budget = dice() % 10, visits = 0; // stopping early, on either side
    view.scan(table::config, "", [&](std::string_view, std::string_view) { return ++visits < budget; });
    REQUIRE(visits == std::min(expected.size(), std::max<size_t>(budget, 1)));
  }
}

TEST_CASE("a condition sees the batches before it in the same commit and drops only its own batch") {
  bool in_lmdb = GENERATE(false, true);
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path, by_hand);
  std::vector<batch> batches = {
      {{{table::config, "k", std::nullopt}}, {{table::config, "k", "1"}}, {make_event("a", "x")}},
      {{{table::config, "k", std::nullopt}}, {{table::config, "k", "2"}}, {make_event("b", "x")}},
      {{{table::config, "k", "1"}}, {{table::config, "k", "3"}, {table::journal, "j", "1"}}, {make_event("c", "x")}},
      {{{table::journal, "j", "0"}}, {{table::journal, "j", "2"}}, {}},
      {{{table::journal, "j", "1"}}, {{table::journal, "j", std::nullopt}}, {}},
  };
  auto done = s->commit(batches);
  REQUIRE(done.size() == 5);
  REQUIRE(done[0]);
  REQUIRE(done[1].error().code == fault::precondition);
  REQUIRE(done[2]);
  REQUIRE(done[3].error().code == fault::precondition);
  REQUIRE(done[4]);
  REQUIRE(done[4]->index == 3);
  REQUIRE(s->last_seq() == 2);
  REQUIRE(s->read().get(table::config, "k") == "3");
  REQUIRE(contents(*s, table::journal).empty());

  if (in_lmdb) REQUIRE(s->checkpoint());
  SECTION("a local batch may depend on a cluster record") {
    REQUIRE(commit_one(*s, {{{table::config, "k", "3"}}, {{table::journal, "k", "y"}}, {}}));
    REQUIRE(!commit_one(*s, {{{table::config, "k", "4"}}, {{table::journal, "k", "z"}}, {}}));
    REQUIRE(s->read().get(table::journal, "k") == "y");
  }
}

TEST_CASE("a batch with a bad key or a table of the store's own is refused alone") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path);
  std::vector<batch> batches = {
      {{}, {{table::config, "", "x"}}, {}},
      {{}, {{table::config, std::string(512, 'k'), "x"}}, {}},
      {{{table::config, "", std::nullopt}}, {}, {}},
      {{}, {{table::events, "k", "x"}}, {}},
      {{}, {{table::history, "k", "x"}}, {}},
      {{}, {{table::meta, "store/format", "x"}}, {}},
      {{}, {}, {make_event("a", std::string(600, 'e'))}},
      {{}, {{table::meta, "cursor", "x"}, {table::config, std::string(511, 'k'), "x"}}, {}},
  };
  auto done = s->commit(batches);
  for (size_t i = 0; i + 1 < done.size(); ++i) {
    INFO(i);
    REQUIRE(!done[i]);
    REQUIRE(done[i].error().code == fault::invalid);
  }
  REQUIRE(done.back());
  REQUIRE(done.back()->index == 1);
  REQUIRE(s->commit({}).empty());
}

TEST_CASE("records, numbers and the epoch survive a restart") {
  scratch_folder folder{medium::memory};
  for (int round = 0; round < 3; ++round) {
    auto s = open_store(folder.path);
    REQUIRE(s->epoch() == 1);
    REQUIRE(s->last_seq() == static_cast<uint64_t>(round) * 4);
    std::vector<batch> two = {numbered_batch(2 * round), numbered_batch(2 * round + 1)};
    auto done = s->commit(two);
    REQUIRE(done[1]);
    REQUIRE(done[1]->index == static_cast<uint64_t>(round) * 2 + 2);
    REQUIRE(require_in_step(*s) == static_cast<size_t>(round) * 2 + 2);
  }
}

TEST_CASE("the history of an entity is a prefix scan that stops at the entity") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path);
  REQUIRE(commit_one(*s, {{}, {}, {make_event("a", "c1"), make_event("b", "c10"), make_event("c", "c1")}}));
  std::vector<uint64_t> numbers;
  for (const auto& [key, value] : contents(*s, table::history, history_prefix("instance", "default", "c1"))) {
    REQUIRE(value.empty());
    numbers.push_back(event_seq(key));
  }
  REQUIRE(numbers == std::vector<uint64_t>{1, 3});
}

TEST_CASE("retention removes from the front by age and by count, with the history") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path);
  batch many;
  for (int i = 1; i <= 5000; ++i) many.events.push_back(make_event("a", record_name(i % 7), i));
  REQUIRE(commit_one(*s, many));

  REQUIRE(s->trim_events(0, 10000));
  REQUIRE(s->first_seq() == 1);
  REQUIRE(s->trim_events(11, 10000));
  REQUIRE(s->first_seq() == 11);
  REQUIRE(s->trim_events(0, 100, 1) == true); // in steps, so that the writer gets its turn
  REQUIRE(s->first_seq() == 2011);
  REQUIRE(s->read().last_seq() == 5000);
  REQUIRE(s->trim_events(0, 100) == false);
  REQUIRE(s->first_seq() == 4901);
  REQUIRE(contents(*s, table::events).size() == 100);
  REQUIRE(contents(*s, table::history).size() == 100);

  SECTION("an emptied log goes on counting, also after a restart") {
    REQUIRE(s->trim_events(INT64_MAX, 100));
    REQUIRE(s->first_seq() == 5001);
    REQUIRE(s->last_seq() == 5000);
    s.reset();
    s = open_store(folder.path);
    REQUIRE(s->first_seq() == 5001);
    REQUIRE(commit_one(*s, numbered_batch(1)));
    REQUIRE(s->last_seq() == 5002);
    REQUIRE(s->first_seq() == 5001);
    REQUIRE(contents(*s, table::history).size() == 2);
  }
  SECTION("the first number is found again after a restart") {
    s.reset();
    s = open_store(folder.path);
    REQUIRE(s->first_seq() == 4901);
    REQUIRE(s->last_seq() == 5000);
  }
}

TEST_CASE("event keys sort as their numbers do") {
  REQUIRE(event_key(255) < event_key(256));
  REQUIRE(event_key(1).size() == 8);
  REQUIRE(event_seq(event_key(0x0102030405060708)) == 0x0102030405060708);
}
