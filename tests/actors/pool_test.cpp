#include "actors/operations.hpp"
#include "actors/pools.hpp"
#include "actors/store_actor.hpp"
#include "tests/actors/fakes.hpp"
#include "tests/support/deterministic_system.hpp"

#include <caf/event_based_actor.hpp>
#include <fstream>
#include <thread>

using namespace troupe;

namespace {

const std::string fingerprint(64, 'a');

/// One pool actor on a fake driver, and an unpacker that takes for ever.
struct scene {
  spdlog::level::level_enum level = log().level();
  folder disk;
  std::unique_ptr<store> db = open_db(disk.path);
  loop io{"pool-test"};
  blocking_pool blocking{4};
  no_driver containers;
  image_store files{disk.path, disk.path + "/unpack"};
  deterministic_system d;
  services with{d.system, io, blocking, *db, containers, containers, files, state_dir{}, "m1", {}};
  std::shared_ptr<fake_storage> driver = std::make_shared<fake_storage>(disk.path + "/volumes");
  caf::actor subject;
  std::vector<caf::actor> actors;
  std::vector<std::string> history;

  scene() {
    log().set_level(spdlog::level::off);
    std::ofstream{disk.path + "/unpack"} << "#!/bin/sh\nexec sleep 1000\n";
    std::filesystem::permissions(disk.path + "/unpack", std::filesystem::perms::owner_all);
    std::ofstream{disk.path + "/" + fingerprint} << "an image";
    batch first;
    first.writes = {put(table::images, in_project("default", fingerprint), message<schema::ImageSpec>{}),
                    put(table::projects, "default", message<schema::ProjectSpec>{})};
    REQUIRE(db->commit(std::span{&first, 1}).front());
    enter(role::store, d.system.spawn([this](caf::event_based_actor* self) { return store_actor(self, with); }));
    enter(role::events, d.system.spawn([]() -> caf::behavior { return {[](const committed_ptr&) {}}; }));
    enter(role::operations, d.system.spawn([]() -> caf::behavior { return {[](const operation_progress&) {}}; }));
    start_pool();
  }
  void start_pool() {
    subject = d.system.spawn([this](caf::event_based_actor* self) { return pool(self, with, "p", driver); });
    actors.push_back(subject);
    caf::anon_send(subject, open_pool{});
    d.run();
  }
  ~scene() {
    driver->cloning.open();
    for (auto& each : actors) caf::anon_send_exit(each, caf::exit_reason::kill);
    d.run();
    with.forget_all();
    actors.clear();
    subject = nullptr;
    d.run();
    log().set_level(level);
  }
  void enter(role who, const caf::actor& actor) {
    with.enter(who, actor);
    actors.push_back(actor);
  }
  void until(const std::function<bool()>& done) { deliver_until(d, done); }
  saga_step clone(const std::string& volume) {
    return {"volume.clone", {{"pool", "p"}, {"image", fingerprint}, {"volume", volume}}};
  }
  void act(const std::string& operation, const std::string& volume) {
    d.system.spawn([=, this](caf::event_based_actor* self) {
      self->request(subject, caf::infinite, step_act{operation, std::make_shared<header>(), clone(volume)})
          .then([=, this](const step_result_ptr&) { history.push_back(operation + " done"); },
                [=, this](const caf::error& why) {
                  history.push_back(operation + " " + std::string{to_string(from_caf(why).code)});
                });
    });
    d.run();
  }
  void undo(const std::string& operation, const std::string& volume) {
    d.system.spawn([=, this](caf::event_based_actor* self) {
      self->request(subject, caf::infinite, step_undo{operation, clone(volume)}).then([=, this] {
        history.push_back(operation + " undone");
      });
    });
    d.run();
  }
  void interrupt(const std::string& operation) {
    caf::anon_send(subject, step_interrupt{operation, clone("")});
    d.run();
  }
};

} // namespace

TEST_CASE("Who waits for an image is let go at once, and with the last of them its unpacking ends") {
  scene s;
  s.act("one", "c1");
  s.act("two", "c2");
  s.until([&] { return s.driver->has("images/" + fingerprint); });
  s.interrupt("one");
  CHECK(s.history == std::vector<std::string>{"one cancelled"});
  CHECK(s.driver->has("images/" + fingerprint)); // the other one still wants it
  s.interrupt("two");
  CHECK(s.history == std::vector<std::string>{"one cancelled", "two cancelled"});
  s.until([&] { return !s.driver->has("images/" + fingerprint); });
  CHECK_FALSE(s.driver->has("containers/c1"));
}

TEST_CASE("An undoing waits for the act that is still going on") {
  scene s;
  CHECK(s.driver->seal_volume({"images", fingerprint}));
  s.driver->cloning.close();
  s.act("one", "c1");
  s.until([&] { return s.driver->cloning.somebody_waits(); });
  s.undo("one", "c1"); // the operations actor was restarted
  CHECK(s.history.empty());
  s.driver->cloning.open();
  s.until([&] { return s.history.size() == 2; });
  CHECK(s.history == std::vector<std::string>{"one done", "one undone"});
  CHECK_FALSE(s.driver->has("containers/c1"));
}

TEST_CASE("An undoing waits for the last call of an act whose actor was killed") {
  scene s;
  CHECK(s.driver->seal_volume({"images", fingerprint}));
  s.driver->cloning.close();
  s.act("one", "c1");
  s.until([&] { return s.driver->cloning.somebody_waits(); });
  caf::anon_send_exit(s.subject, caf::exit_reason::kill);
  s.d.run();
  s.start_pool(); // as its parent does
  s.undo("one", "c1");
  CHECK(s.history.empty());
  s.driver->cloning.open();
  s.until([&] { return s.history.size() == 2; });
  CHECK(s.history == std::vector<std::string>{"one busy", "one undone"});
  CHECK_FALSE(s.driver->has("containers/c1"));
}
