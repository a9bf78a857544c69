#include "actors/lifecycle_event.hpp"
#include "actors/records.hpp"
#include "messages/subscription.capnp.h"
#include "runtime/supervisor.hpp"
#include "tests/support/event_stage.hpp"

#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

using namespace troupe;
using namespace troupe::test;

namespace {

using kind = delivery::kind;

/// A subscriber that keeps what it is told.
class listener {
public:
  open_subscription request(event_filter filter = {}) {
    open_subscription out;
    out.filter = std::move(filter);
    out.deliver = [inner = inner_](const delivery& what) {
      std::lock_guard guard{inner->lock};
      inner->told.push_back(what);
      inner->changed.notify_all();
    };
    out.ended = [inner = inner_](const error& why) {
      std::lock_guard guard{inner->lock};
      inner->end = why;
      inner->changed.notify_all();
    };
    return out;
  }

  /// What was told, once it is so much.
  std::vector<delivery> wait(size_t count) {
    std::unique_lock guard{inner_->lock};
    bool came = inner_->changed.wait_for(guard, std::chrono::seconds{30}, [&] { return inner_->told.size() >= count; });
    INFO("told " << inner_->told.size() << " of " << count);
    REQUIRE(came);
    return inner_->told;
  }
  error wait_for_end() {
    std::unique_lock guard{inner_->lock};
    REQUIRE(inner_->changed.wait_for(guard, std::chrono::seconds{30}, [&] { return inner_->end.has_value(); }));
    return *inner_->end;
  }
  size_t count() const {
    std::lock_guard guard{inner_->lock};
    return inner_->told.size();
  }

private:
  struct data {
    std::mutex lock;
    std::condition_variable changed;
    std::vector<delivery> told;
    std::optional<error> end;
  };
  std::shared_ptr<data> inner_ = std::make_shared<data>();
};

uint64_t seq_of(const delivery& what) {
  return what.event.read([](schema::Event::Reader e) { return e.getSeq(); });
}

// Bounds a wait, measures nothing.
void eventually(const std::function<bool()>& holds) {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  while (!holds()) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::yield();
  }
}

// Events number from.. to.., each once, in order.
void require_dense(const std::vector<delivery>& told, size_t at, uint64_t from, uint64_t to) {
  REQUIRE(told.size() >= at + (to - from + 1));
  for (auto seq = from; seq <= to; ++seq, ++at) {
    REQUIRE(told[at].what == kind::event);
    REQUIRE(seq_of(told[at]) == seq);
    REQUIRE(told[at].at == event_cursor{1, "m1", seq});
  }
}

open_subscription from_beginning(listener& who, event_filter filter = {}) {
  auto request = who.request(std::move(filter));
  request.start = start_at::beginning;
  return request;
}

open_subscription durable(listener& who, event_filter filter = {}) {
  auto request = from_beginning(who, std::move(filter));
  request.durable = "sink";
  return request;
}

fault refusal(stage& on, open_subscription request) {
  auto answer = on.try_ask<subscription_ptr>(on.events, std::move(request));
  REQUIRE_FALSE(answer);
  return answer.error().code;
}

void keep_only(stage& on, int count) {
  batch change;
  change.writes.push_back({table::config, "events.retention.count", std::to_string(count)});
  on.commit(std::move(change));
}

} // namespace

TEST_CASE("a cursor is text and back") {
  for (const event_cursor& cursor : {event_cursor{1, "m1", 0}, event_cursor{4294967295u, "a:b", UINT64_MAX}}) {
    auto again = parse_event_cursor(to_string(cursor));
    REQUIRE(again);
    REQUIRE(*again == cursor);
  }
  for (auto bad : {"", ":", "::", "1:m1", "x:m1:1", "1:m1:", "1:m1:-1", "1:m1:1x", "4294967296:m1:1"})
    REQUIRE_FALSE(parse_event_cursor(bad));
}

TEST_CASE("a subscriber that begins now learns where it is, then what happens") {
  stage on{3};
  listener who;
  auto events = on.ask<subscription_ptr>(on.events, who.request());
  events->grant(100);
  auto told = who.wait(1);
  REQUIRE(told[0].what == kind::bookmark);
  REQUIRE(told[0].at == event_cursor{1, "m1", 3});
  on.commit(2);
  on.commit(1);
  require_dense(who.wait(4), 1, 4, 6);
}

TEST_CASE("from the beginning, from disk and from memory, nothing is missing and nothing twice") {
  stage on{2500};
  listener who;
  auto events = on.ask<subscription_ptr>(on.events, from_beginning(who));
  std::thread writing{[&] {
    for (int i = 0; i < 100; ++i) on.commit(5);
  }};
  for (int i = 0; i < 31; ++i) events->grant(100); // in pieces, so that it falls behind and catches up
  who.wait(3000);
  writing.join();
  auto told = who.wait(3001);
  std::erase_if(told, [](auto& one) { return one.what == kind::bookmark; });
  REQUIRE(told.size() == 3000);
  require_dense(told, 0, 1, 3000);
}

TEST_CASE("never more is delivered than was granted") {
  stage on{50};
  listener who;
  auto events = on.ask<subscription_ptr>(on.events, from_beginning(who));
  on.commit(1);
  REQUIRE(who.count() == 0);
  events->grant(7);
  who.wait(7);
  on.commit(20);
  REQUIRE(who.count() == 7);
  events->grant(3);
  require_dense(who.wait(10), 0, 1, 10);
  on.commit(1);
  REQUIRE(who.count() == 10);
}

TEST_CASE("a cursor goes on behind itself") {
  stage on{20};
  listener who;
  auto request = who.request();
  request.start = start_at::cursor;
  request.from = {1, "m1", 12};
  auto events = on.ask<subscription_ptr>(on.events, request);
  events->grant(100);
  require_dense(who.wait(8), 0, 13, 20);
  REQUIRE(who.wait(9)[8].what == kind::bookmark); // it has caught up

  request.from.seq = 21;
  REQUIRE(refusal(on, request) == fault::invalid);
}

TEST_CASE("a cursor of another log gets a gap of unknown size, then all that is kept") {
  stage on{5};
  listener who;
  auto request = who.request();
  request.start = start_at::cursor;
  request.from = GENERATE(event_cursor{2, "m1", 3}, event_cursor{1, "m2", 3});
  auto events = on.ask<subscription_ptr>(on.events, request);
  events->grant(100);
  auto told = who.wait(6);
  REQUIRE(told[0].what == kind::gap);
  REQUIRE(told[0].gap_from == 0);
  require_dense(told, 1, 1, 5);
}

TEST_CASE("a filter passes what it says, and the others are not paid for") {
  stage on;
  listener who;
  auto events = on.ask<subscription_ptr>(on.events, from_beginning(who, {{"default.instance.c1.started"}}));
  events->grant(1);
  batch change;
  for (int i = 0; i < 10; ++i) change.events.push_back(stage::event("c0"));
  change.events.push_back(stage::event("c1", "instance-started"));
  on.commit(change);
  auto told = who.wait(1);
  REQUIRE(told[0].what == kind::bookmark); // nothing had happened yet
  events->grant(1);
  told = who.wait(2);
  REQUIRE(told[1].at.seq == 11);
}

TEST_CASE("what retention took is one gap, however the reader lagged") {
  stage on{100};
  listener slow;
  auto events = on.ask<subscription_ptr>(on.events, from_beginning(slow));
  events->grant(10);
  require_dense(slow.wait(10), 0, 1, 10);
  for (int i = 0; i < 5; ++i) on.commit(1000); // beyond what memory holds
  keep_only(on, 50);
  eventually([&] { return on.db->first_seq() == 5051; }); // the trimming follows the commit, in steps
  events->grant(100'000);
  auto told = slow.wait(12);
  REQUIRE(told[10].what == kind::gap);
  REQUIRE(told[10].gap_from == 11);
  auto first = told[10].gap_to + 1;
  REQUIRE(told[10].at.seq == told[10].gap_to);
  require_dense(slow.wait(11 + (5100 - first + 1)), 11, first, 5100);
}

TEST_CASE("a reader at an emptied log gets a gap up to its end") {
  stage on{40};
  REQUIRE(on.db->trim_events(INT64_MAX, 1));
  listener who;
  auto request = who.request();
  request.start = start_at::cursor;
  request.from = {1, "m1", 3};
  auto events = on.ask<subscription_ptr>(on.events, request);
  on.commit(1);
  events->grant(100);
  auto told = who.wait(2);
  REQUIRE(told[0].what == kind::gap);
  REQUIRE(told[0].gap_from == 4);
  REQUIRE(told[0].gap_to == 40);
  require_dense(told, 1, 41, 41);
}

TEST_CASE("a snapshot is rows, a marker, and what came behind it") {
  stage on;
  auto profile = [](const std::string& name) {
    return put(table::profiles, "default/" + name, message<schema::ProfileSpec>::make([&](auto p) {
                 p.setName(name);
                 p.setProject("default");
               }));
  };
  batch change;
  for (int i = 0; i < 5; ++i) change.writes.push_back(profile("p" + std::to_string(i)));
  change.events.push_back(stage::event("c1"));
  on.commit(change);
  listener who;
  auto request = who.request({{"default.profile.>", "default.instance.>"}});
  request.snapshot = true;
  auto events = on.ask<subscription_ptr>(on.events, request);
  on.commit(3); // after the view was taken
  for (int i = 0; i < 20; ++i) events->grant(1);
  auto told = who.wait(9);
  for (int i = 0; i < 5; ++i) {
    REQUIRE(told[i].what == kind::snapshot);
    told[i].event.read([&](schema::Event::Reader row) {
      REQUIRE(view(row.getEntity()) == "p" + std::to_string(i));
      REQUIRE(view(row.getMetadata()).find("\"name\":\"p" + std::to_string(i)) != std::string::npos);
    });
  }
  REQUIRE(told[5].what == kind::marker);
  REQUIRE(told[5].at.seq == 1);
  require_dense(told, 6, 2, 4);

  request.start = start_at::beginning;
  REQUIRE(refusal(on, request) == fault::invalid);
}

TEST_CASE("a durable subscription goes on behind what was acknowledged, also after a restart") {
  stage on{10};
  {
    listener who;
    auto events = on.ask<subscription_ptr>(on.events, durable(who));
    events->grant(100);
    require_dense(who.wait(10), 0, 1, 10);
    events->acknowledge(6);
  }
  eventually([&] { return on.ask<durable_facts>(on.events, find_durable{"sink"}).acknowledged.seq == 6; });
  SECTION("at once") {}
  SECTION("after a restart of the daemon") {
    eventually([&] {
      return load<schema::DurableSubscription>(on.db->read(), table::subscriptions, "sink")->read([](auto s) {
        return s.getSeq() == 6;
      });
    });
    on.stop();
    on.start();
  }
  listener again;
  auto events = on.ask<subscription_ptr>(on.events, durable(again));
  events->grant(100);
  require_dense(again.wait(4), 0, 7, 10);
}

TEST_CASE("the newest reader of a durable subscription takes over") {
  stage on{3};
  listener first, second;
  auto a = on.ask<subscription_ptr>(on.events, durable(first));
  a->grant(100);
  first.wait(3);
  auto b = on.ask<subscription_ptr>(on.events, durable(second));
  REQUIRE(first.wait_for_end().code == fault::cancelled);
  b->grant(100);
  require_dense(second.wait(3), 0, 1, 3);
  auto seen = first.count();
  on.commit(1);
  second.wait(4);
  REQUIRE(first.count() == seen);
}

TEST_CASE("durable subscriptions are listed, and deleted with their reader") {
  stage on{3};
  listener who;
  auto events = on.ask<subscription_ptr>(on.events, durable(who, {{"default.>"}, {"lifecycle"}}));
  auto all = on.ask<durable_list>(on.events, list_durables{});
  REQUIRE(all.size() == 1);
  REQUIRE(all[0].name == "sink");
  REQUIRE(all[0].connected);
  REQUIRE(all[0].lag == 3);
  REQUIRE(all[0].filter == event_filter{{"default.>"}, {"lifecycle"}});
  REQUIRE(refusal(on, durable(who, {{"other.>"}})) == fault::already_exists);

  caf::scoped_actor self{on.system};
  self->request(on.events, caf::infinite, delete_durable{"sink"}).receive([] {}, [](caf::error&) { FAIL(); });
  REQUIRE(who.wait_for_end().code == fault::cancelled);
  REQUIRE_FALSE(on.try_ask<durable_facts>(on.events, find_durable{"sink"}));
  REQUIRE(on.ask<durable_list>(on.events, list_durables{}).empty());
  REQUIRE_FALSE(on.db->read().get(table::subscriptions, "sink"));
}

TEST_CASE("an acknowledgement of what was not delivered ends the subscription and is not kept") {
  stage on{10};
  listener who;
  auto events = on.ask<subscription_ptr>(on.events, durable(who));
  events->grant(3);
  who.wait(3);
  events->acknowledge(4);
  REQUIRE(who.wait_for_end().code == fault::invalid);
  REQUIRE(on.ask<durable_facts>(on.events, find_durable{"sink"}).acknowledged.seq == 0);
}

TEST_CASE("when the event log is restarted its subscribers are told") {
  stage on;
  listener who;
  auto events = on.ask<subscription_ptr>(on.events, who.request());
  on.stop();
  REQUIRE(who.wait_for_end().code == fault::busy);
  events->grant(1); // to nobody
  on.start();
  listener again;
  auto later = on.ask<subscription_ptr>(on.events, from_beginning(again));
  later->grant(10);
  on.commit(1);
  require_dense(again.wait(2), 1, 1, 1);
}

TEST_CASE("a part of the daemon that fails is started again, and the log tells it") {
  stage on;
  on.stop();
  auto part = [&](std::string id, role who, auto behavior) {
    return actor_spec{std::move(id), [&on, who, behavior](caf::event_based_actor* parent) {
                        auto made = parent->spawn(
                            [&on, behavior](caf::event_based_actor* self) { return behavior(self, *on.with); });
                        on.with->enter(who, made);
                        return made;
                      }};
  };
  supervisor_spec tree;
  tree.name = "root";
  tree.children = {part("store", role::store, store_actor), part("events", role::events, event_log)};
  tree.on_restart = [&on](const std::string& child, const std::string& why) {
    auto told = std::make_shared<batch>();
    told->events.push_back(restart_event(child, why));
    caf::anon_send(on.with->find(role::store), propose{told});
  };
  auto root = spawn_supervisor(on.system, std::move(tree));
  caf::scoped_actor self{on.system};
  for (auto who : {role::events, role::store}) {
    auto last = on.db->last_seq();
    caf::actor victim;
    eventually([&] { return (victim = on.with->find(who)) != nullptr; });
    caf::anon_send_exit(victim, caf::exit_reason::kill);
    eventually([&] { return on.db->last_seq() > last; });
  }
  listener witness;
  auto events =
      on.ask<subscription_ptr>(on.with->find(role::events), from_beginning(witness, {{"_.actor.*.restarted"}}));
  events->grant(10);
  auto told = witness.wait(2);
  REQUIRE(told[0].event.read(facts_of).name == "events");
  REQUIRE(told[1].event.read(facts_of).name == "store");
  caf::anon_send_exit(root, caf::exit_reason::user_shutdown);
  self->wait_for(root);
  on.start();
}

TEST_CASE("a closed subscription hears nothing more, and neither does a dropped one") {
  stage on;
  listener closed, dropped, open;
  auto a = on.ask<subscription_ptr>(on.events, closed.request());
  auto b = on.ask<subscription_ptr>(on.events, dropped.request());
  auto c = on.ask<subscription_ptr>(on.events, open.request());
  for (auto& one : {a, b, c}) one->grant(100);
  closed.wait(1), dropped.wait(1), open.wait(1);
  a->close();
  b.reset();
  on.commit(1);
  open.wait(2);
  REQUIRE(closed.count() == 1);
  REQUIRE(dropped.count() == 1);
}

TEST_CASE("log lines go to those who keep up and move no cursor") {
  stage on{2};
  listener who;
  auto events = on.ask<subscription_ptr>(on.events, who.request({{}, {"logging"}, schema::Event::Level::WARNING}));
  events->grant(100);
  who.wait(1);
  caf::anon_send(on.events, log_line{2, "said"});
  caf::anon_send(on.events, log_line{3, "warned"});
  auto told = who.wait(2);
  REQUIRE(seq_of(told[1]) == 0);
  REQUIRE(told[1].at.seq == 2);
  told[1].event.read(
      [](schema::Event::Reader e) { REQUIRE(view(e.getMetadata()).find("warned") != e.getMetadata().size()); });
}
