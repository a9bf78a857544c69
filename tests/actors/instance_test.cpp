#include "actors/event_log.hpp"
#include "actors/instances.hpp"
#include "actors/networks.hpp"
#include "actors/operation_record.hpp"
#include "actors/operations.hpp"
#include "actors/pools.hpp"
#include "actors/store_actor.hpp"
#include "tests/actors/fakes.hpp"
#include "tests/support/deterministic_system.hpp"

#include <caf/event_based_actor.hpp>
#include <thread>

using namespace troupe;
using state = schema::Operation::State;

namespace {

using names = std::vector<std::string>;

/// One instance "c1" on fake backends: real store, operations and instances actors, stubs for pools and networks.
struct scene {
  spdlog::level::level_enum level = log().level();
  folder disk;
  std::unique_ptr<store> db = open_db(disk.path);
  loop io{"instance-test"};
  blocking_pool blocking{2};
  fake_driver driver;
  image_store files{disk.path, ""};
  deterministic_system d;
  services with{d.system, io, blocking, *db, driver, driver, files, state_dir{}, "m1", {1'000'000, 65536}};
  caf::strong_actor_ptr instance; // who asked for a volume last
  std::vector<caf::actor> actors;

  scene() {
    log().set_level(spdlog::level::off);
    with.dir.logs = disk.path;
    std::filesystem::create_directories(disk.path + "/volume/rootfs");
    batch first;
    auto spec = spec_record::make([](schema::InstanceSpec::Builder s) {
      s.setName("c1");
      s.setProject("default");
      s.setPool("p");
    });
    first.writes = {put(table::instances, "default/c1", spec), put(table::statuses, "default/c1", status_record{})};
    REQUIRE(db->commit(std::span{&first, 1}).front());
    enter(role::store, d.system.spawn([this](caf::event_based_actor* self) { return store_actor(self, with); }));
    enter(role::events, d.system.spawn([]() -> caf::behavior { return {[](const committed_ptr&) {}}; }));
    enter(role::pools, d.system.spawn([this](caf::event_based_actor* self) -> caf::behavior {
      return {[this, self](const locate_volume&) {
        instance = self->current_sender();
        return root_mount_ptr{std::make_shared<root_mount>(root_mount{disk.path + "/volume"})};
      }};
    }));
    enter(role::networks, d.system.spawn([]() -> caf::behavior { return {[](const forget_host&) {}}; }));
    enter(role::instances, d.system.spawn([this](caf::event_based_actor* self) { return instances(self, with); }));
    enter(role::operations, d.system.spawn([this](caf::event_based_actor* self) { return operations(self, with); }));
    d.run();
  }

  ~scene() {
    driver.starting.open();
    for (auto& each : actors) caf::anon_send_exit(each, caf::exit_reason::kill);
    d.run();
    with.forget_all();
    instance = nullptr;
    actors.clear();
    d.run();
    log().set_level(level);
  }

  void enter(role who, const caf::actor& actor) {
    with.enter(who, actor);
    actors.push_back(actor);
  }

  void until(const std::function<bool()>& done) { deliver_until(d, done); }

  using answer = std::shared_ptr<std::optional<outcome<operation_record>>>;
  answer change(const std::string& action, bool force = false) {
    auto body = message<schema::ChangeInstanceState>::make([&](schema::ChangeInstanceState::Builder put) {
      put.setAction(action);
      put.setForce(force);
    });
    auto out = std::make_shared<std::optional<outcome<operation_record>>>();
    d.system.spawn([this, body, out](caf::event_based_actor* self) {
      self->request(with.find(role::instances), caf::infinite, to_instance{"default", "c1"},
                    envelope<schema::ChangeInstanceState>{body, std::make_shared<header>()})
          .then([out](const operation_record& record) { *out = outcome<operation_record>{record}; },
                [out](const caf::error& why) { *out = outcome<operation_record>{tl::unexpected{from_caf(why)}}; });
    });
    until([&] { return out->has_value(); });
    return out;
  }
  state end_of(const answer& of) {
    REQUIRE(**of);
    auto id = id_of(***of);
    state last{};
    until([&] {
      last = state_of(*load<schema::Operation>(db->read(), table::operations, id));
      return is_over(last);
    });
    d.run();
    return last;
  }
  state run(const std::string& action, bool force = false) { return end_of(change(action, force)); }

  status_record status() { return *load<schema::InstanceStatus>(db->read(), table::statuses, "default/c1"); }
  instance_state now() {
    return status().read([](auto s) { return s.getState(); });
  }
  pid_t leader() {
    return status().read([](auto s) { return s.getLeader(); });
  }
  bool told(std::string_view action) {
    bool found = false;
    db->read().scan(table::events, "", [&](std::string_view, std::string_view bytes) {
      message<schema::Event>::from_bytes(bytes).read([&](auto event) { found |= view(event.getAction()) == action; });
      return true;
    });
    return found;
  }
};

} // namespace

TEST_CASE("An instance starts and stops, and its record tells so") {
  scene s;
  CHECK(s.run("start") == state::SUCCEEDED);
  CHECK(s.now() == instance_state::RUNNING);
  CHECK(s.leader() == s.driver.leader->pid());
  CHECK((*s.change("start"))->error().code == fault::wrong_state);
  CHECK(s.run("stop") == state::SUCCEEDED);
  CHECK(s.now() == instance_state::STOPPED);
  CHECK(s.leader() == 0);
}

TEST_CASE("A boot that fails leaves a stopped instance that can be started") {
  scene s;
  s.driver.set_failing({"start"});
  CHECK(s.run("start") == state::FAILED);
  CHECK(s.now() == instance_state::STOPPED);
  s.driver.set_failing({});
  CHECK(s.run("start") == state::SUCCEEDED);
}

TEST_CASE("A restart that cannot boot leaves an instance whose record says that it is stopped") {
  scene s;
  REQUIRE(s.run("start") == state::SUCCEEDED);
  s.driver.set_failing({"start"});
  CHECK(s.run("restart", true) == state::FAILED);
  s.until([&] { return s.now() == instance_state::STOPPED; });
  CHECK(s.leader() == 0);
}

TEST_CASE("A forced stop does not wait behind a start that hangs") {
  scene s;
  s.driver.starting.close();
  auto start = s.change("start");
  s.until([&] { return s.driver.starting.somebody_waits(); });
  auto stop = s.change("stop", true);
  s.driver.starting.open();
  CHECK(s.end_of(stop) == state::SUCCEEDED);
  s.end_of(start);
  s.until([&] { return s.now() == instance_state::STOPPED; });
  CHECK(s.run("start") == state::SUCCEEDED);
}

TEST_CASE("An instance that ends unasked is stopped, and the events tell it") {
  scene s;
  REQUIRE(s.run("start") == state::SUCCEEDED);
  s.driver.end_all();
  s.until([&] { return s.now() == instance_state::STOPPED; });
  CHECK(s.told("instance-shutdown"));
  CHECK(s.run("start") == state::SUCCEEDED);
}

TEST_CASE("An instance that reboots from inside runs on with its new leader") {
  scene s;
  REQUIRE(s.run("start") == state::SUCCEEDED);
  auto before = s.leader();
  s.driver.reboots = true;
  ::kill(before, SIGKILL);
  s.until([&] { return s.leader() != before; });
  CHECK(s.now() == instance_state::RUNNING);
  CHECK(s.leader() == s.driver.leader->pid());
  CHECK(s.told("instance-restarted"));
  CHECK(s.run("stop") == state::SUCCEEDED);
}

TEST_CASE("An instance's actor that fails is rebuilt, and goes on watching what runs") {
  scene s;
  REQUIRE(s.run("start") == state::SUCCEEDED);
  caf::anon_send_exit(caf::actor_cast<caf::actor>(s.instance), caf::exit_reason::kill);
  s.instance = nullptr;
  s.d.run();
  SECTION("it stops when asked") {
    CHECK(s.run("stop") == state::SUCCEEDED);
    CHECK(s.driver.starts == 1);
  }
  SECTION("it ends unasked") {
    s.driver.end_all();
    s.until([&] { return s.now() == instance_state::STOPPED; });
    CHECK(s.told("instance-shutdown"));
  }
}

TEST_CASE("An instance whose step could not be undone is in error until that was made up for") {
  scene s;
  REQUIRE(s.run("start") == state::SUCCEEDED);
  s.driver.set_failing({"freeze", "unfreeze"});
  CHECK(s.run("freeze") == state::UNKNOWN);
  s.until([&] { return s.now() == instance_state::ERROR; });
  CHECK(s.status().read([](auto r) { return text(r.getReason()); }) == "No unfreeze");
  s.driver.set_failing({});
  CHECK((*s.change("start"))->error().code == fault::busy); // but it was made up for
  s.until([&] { return s.now() == instance_state::RUNNING; });
  CHECK(s.leader() == s.driver.leader->pid());
  CHECK(s.run("stop") == state::SUCCEEDED);
}
