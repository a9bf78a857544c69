#include "actors/sink.hpp"

#include "actors/records.hpp"
#include "actors/sinks.hpp"
#include "tests/support/event_stage.hpp"

#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

using namespace troupe;
using namespace troupe::test;

namespace {

using answer = std::function<sink_progress(std::span<const sink_record>)>;

/// A receiver that does what the test says, and keeps what it took.
class receiver final : public sink_writer {
public:
  explicit receiver(answer how) : how_{std::move(how)} {}

  sink_progress write(std::span<const sink_record> records) override {
    auto done = how_(records);
    std::lock_guard guard{lock_};
    largest_ = std::max(largest_, records.size());
    for (size_t i = 0; i < done.accepted; ++i) taken_.push_back(records[i]);
    if (stopped_) done = {0, error{fault::cancelled, "Stopped"}};
    changed_.notify_all();
    return done;
  }
  void stop() override {
    std::lock_guard guard{lock_};
    stopped_ = true;
    changed_.notify_all();
  }

  std::vector<sink_record> wait(size_t count) {
    std::unique_lock guard{lock_};
    bool came = changed_.wait_for(guard, std::chrono::seconds{30}, [&] { return taken_.size() >= count; });
    INFO("taken " << taken_.size() << " of " << count);
    REQUIRE(came);
    return taken_;
  }
  void wait_for_stop() {
    std::unique_lock guard{lock_};
    changed_.wait_for(guard, std::chrono::seconds{30}, [&] { return stopped_; });
  }
  size_t largest() {
    std::lock_guard guard{lock_};
    return largest_;
  }

private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<sink_record> taken_;
  answer how_;
  size_t largest_ = 0;
  bool stopped_ = false;
};

sink_progress all(std::span<const sink_record> records) { return {records.size()}; }

std::string id(uint64_t seq, const stage& s) { return std::to_string(s.db->epoch()) + ":m1:" + std::to_string(seq); }

/// A stage with one sink's records, whose actor comes and goes.
struct sink_stage : stage {
  blocking_pool threads{2};
  caf::actor actor;
  std::shared_ptr<receiver> there;
  spdlog::level::level_enum level = log().level();

  explicit sink_stage(int events_before, std::vector<std::string> subjects = {}, uint64_t start = 0)
      : stage{events_before} {
    log().set_level(spdlog::level::off); // failures are what is tested
    batch made;
    made.writes.push_back(put(table::sinks, "one", message<schema::SinkSpec>::make([&](schema::SinkSpec::Builder spec) {
                                spec.setName("one");
                                fill(spec.initFilter(static_cast<unsigned>(subjects.size())), subjects);
                              })));
    made.writes.push_back(
        put(table::sink_statuses, "one", message<schema::SinkStatus>::make([&](schema::SinkStatus::Builder status) {
              status.setEpoch(db->epoch());
              status.setMember("m1");
              status.setSeq(start);
            })));
    commit(std::move(made));
  }
  ~sink_stage() {
    end_sink(caf::exit_reason::user_shutdown);
    log().set_level(level);
  }

  void begin_sink(answer how = all) {
    there = std::make_shared<receiver>(std::move(how));
    actor = system.spawn(
        [this, to = there](caf::event_based_actor* self) { return sink(self, *with, threads, "one", to); });
  }
  void end_sink(caf::exit_reason how) {
    if (!actor) return;
    caf::scoped_actor self{system};
    self->send_exit(actor, how);
    self->wait_for(actor);
    actor = nullptr;
  }

  message<schema::SinkStatus> status() const {
    return *load<schema::SinkStatus>(db->read(), table::sink_statuses, "one");
  }
  uint64_t kept_seq() const {
    return status().read([](auto s) { return s.getSeq(); });
  }
  std::vector<message<schema::DeadLetter>> dead_letters() const {
    std::vector<message<schema::DeadLetter>> out;
    db->read().scan(table::dead_letters, dead_letters_of("one"), [&](std::string_view, std::string_view bytes) {
      out.push_back(message<schema::DeadLetter>::from_bytes(bytes));
      return true;
    });
    return out;
  }
  /// Ends the sink in order: what it has done is kept then.
  void stop_sink_in_order() {
    caf::scoped_actor self{system};
    self->request(actor, std::chrono::seconds{30}, stop_sink{})
        .receive([] {}, [](caf::error& why) { FAIL(from_caf(why).message); });
    self->wait_for(actor);
    actor = nullptr;
  }
};

} // namespace

TEST_CASE("a sink delivers every event behind its cursor, once and in order", "[sink]") {
  sink_stage s{1000, {}, 10};
  s.begin_sink();
  s.there->wait(990);
  s.commit(500);
  auto taken = s.there->wait(1490);
  REQUIRE(taken.size() == 1490);
  for (uint64_t i = 0; i < taken.size(); ++i) REQUIRE(taken[i].id == id(i + 11, s));
  CHECK(s.there->largest() <= 100);
  s.stop_sink_in_order();
  CHECK(s.kept_seq() == 1500);
  CHECK(s.status().read([](auto status) { return status.getDelivered(); }) == 1490);
}

TEST_CASE("a sink tells its receiver what an event is", "[sink]") {
  sink_stage s{0};
  s.begin_sink();
  s.commit({{}, {}, {stage::event("c1", "instance-started")}});
  auto one = s.there->wait(1).front();
  CHECK(one.id == id(1, s));
  CHECK(one.source == "m1");
  CHECK(one.type == "lifecycle.instance.started");
  CHECK(one.subject == "default.instance.c1.started");
  auto data = nlohmann::json::parse(one.data);
  CHECK(data["cursor"] == one.id);
  CHECK(data["timestamp"] == one.time);
  CHECK(data["metadata"]["action"] == "instance-started");
}

TEST_CASE("a sink delivers what its filter lets through", "[sink]") {
  sink_stage s{1000, {"default.instance.c3.*"}};
  s.begin_sink();
  auto taken = s.there->wait(100);
  for (auto& one : taken) CHECK(one.subject == "default.instance.c3.updated");
}

TEST_CASE("after a crash a sink goes on from what it kept: nothing is missing", "[sink]") {
  sink_stage s{3000};
  uint64_t total = 3000;
  std::vector<std::string> taken;
  for (int crash = 0; crash < 6; ++crash) {
    s.begin_sink();
    for (auto& one : s.there->wait(300)) taken.push_back(one.id);
    s.end_sink(caf::exit_reason::kill);
    s.commit(1); // behind what the sink was still keeping
    ++total;
  }
  auto left = total - s.kept_seq();
  s.begin_sink();
  for (auto& one : s.there->wait(left)) taken.push_back(one.id);
  CHECK(taken.back() == id(total, s));
  uint64_t last = 0; // repetitions go back, but none goes forward over an event
  for (auto& one : taken) {
    auto seq = std::stoull(one.substr(one.rfind(':') + 1));
    REQUIRE(seq <= last + 1);
    last = std::max<uint64_t>(last, seq);
  }
}

TEST_CASE("a receiver that fails gets everything when it is back, in order", "[sink]") {
  sink_stage s{50};
  std::atomic<int> failures = 0;
  s.begin_sink([&](std::span<const sink_record> records) -> sink_progress {
    if (++failures <= 3) return {failures == 2 ? 10u : 0u, error{fault::backend_failed, "Not now"}};
    return {records.size()};
  });
  auto taken = s.there->wait(50);
  REQUIRE(taken.size() == 50);
  for (uint64_t i = 0; i < 50; ++i) CHECK(taken[i].id == id(i + 1, s));
  s.stop_sink_in_order();
  s.status().read([](schema::SinkStatus::Reader status) {
    CHECK(status.getFailed() == 3);
    CHECK(view(status.getLastError()) == "Not now");
    CHECK_FALSE(status.getFailing());
    CHECK(status.getDelivered() == 50);
  });
  CHECK(s.dead_letters().empty());
}

TEST_CASE("an event that the receiver refuses every time becomes a dead letter, and the others go on", "[sink]") {
  sink_stage s{20};
  std::atomic<int> refusals = 0;
  s.begin_sink([&, poison = id(7, s)](std::span<const sink_record> records) -> sink_progress {
    for (size_t i = 0; i < records.size(); ++i)
      if (records[i].id == poison) {
        ++refusals;
        return {i, error{fault::backend_failed, "Not this one"}, true};
      }
    return {records.size()};
  });
  auto taken = s.there->wait(19);
  for (uint64_t i = 0; i < 19; ++i) CHECK(taken[i].id == id(i + (i < 6 ? 1 : 2), s));
  s.stop_sink_in_order();
  CHECK(refusals == 5);
  CHECK(s.kept_seq() == 20);
  auto letters = s.dead_letters();
  REQUIRE(letters.size() == 1);
  letters.front().read([&](schema::DeadLetter::Reader letter) {
    CHECK(text(letter.getCursor()) == id(7, s));
    CHECK(view(letter.getError()) == "Not this one");
    CHECK(letter.getAttempts() == 5);
    CHECK(nlohmann::json::parse(text(letter.getEvent()))["cursor"] == id(7, s));
  });
}

TEST_CASE("a sink with too many dead letters waits instead of losing an event", "[sink]") {
  sink_stage s{3};
  batch full;
  for (int i = 0; i < 1000; ++i)
    full.writes.push_back({table::dead_letters, dead_letters_of("one") + std::to_string(i), "x"});
  s.commit(std::move(full));
  s.begin_sink([](std::span<const sink_record>) -> sink_progress {
    return {0, error{fault::backend_failed, "Not this one"}, true};
  });
  auto said = [&] { return s.status().read([](auto status) { return text(status.getLastError()); }); };
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  while (said().find("there are 1000 dead letters already") == std::string::npos) {
    REQUIRE(std::chrono::steady_clock::now() < until);
    s.commit(1); // waits for a commit
  }
  s.stop_sink_in_order();
  CHECK(s.kept_seq() == 0);
}

TEST_CASE("a receiver is told of events that were gone before it could have them", "[sink]") {
  sink_stage s{100};
  REQUIRE(s.db->trim_events(0, 40));
  auto first = s.db->first_seq();
  REQUIRE(first > 1);
  s.begin_sink();
  auto taken = s.there->wait(1 + (100 - first + 1));
  CHECK(taken[0].id == id(first - 1, s) + ":gap");
  auto gap = nlohmann::json::parse(taken[0].data);
  CHECK(gap["type"] == "gap");
  CHECK(gap["metadata"]["from"] == 1);
  CHECK(gap["metadata"]["to"] == first - 1);
  CHECK(taken[1].id == id(first, s));
}

TEST_CASE("a sink whose receiver hangs takes no more than its share, and can be stopped", "[sink]") {
  sink_stage s{2000};
  s.begin_sink([&](std::span<const sink_record>) -> sink_progress {
    s.there->wait_for_stop();
    return {0, error{fault::cancelled, "Stopped"}};
  });
  s.commit(2000);
  s.stop_sink_in_order();
  CHECK(s.kept_seq() == 0);
  s.begin_sink();
  CHECK(s.there->wait(4000).size() == 4000);
}

TEST_CASE("a sink outlives the event log's restart", "[sink]") {
  sink_stage s{10};
  s.begin_sink();
  s.there->wait(10);
  caf::scoped_actor self{s.system};
  self->send_exit(s.events, caf::exit_reason::kill);
  self->wait_for(s.events);
  s.events = s.system.spawn([&](caf::event_based_actor* actor) { return event_log(actor, *s.with); });
  s.with->enter(role::events, s.events);
  s.commit(5);
  auto taken = s.there->wait(15);
  for (uint64_t i = 0; i < 15; ++i) CHECK(taken[i].id == id(i + 1, s));
}
