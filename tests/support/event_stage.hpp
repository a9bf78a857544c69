#pragma once

#include "actors/event_log.hpp"
#include "actors/store_actor.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <stdlib.h>

namespace troupe::test {

/// Nothing runs here.
class idle_driver final : public instance_driver {
public:
  std::string version() const override { return "0"; }
  outcome<boot_result> start(const boot_plan&) override { return no(); }
  outcome<std::optional<instance_found>> find(const std::string&) override { return no(); }
  outcome<std::optional<instance_found>> await_reboot(const std::string&) override { return no(); }
  outcome<void> request_stop(const std::string&, pid_t) override { return no(); }
  outcome<void> kill(const std::string&, pid_t) override { return no(); }
  outcome<void> end_by_force(const std::string&, const instance_found&) override { return {}; }
  outcome<void> freeze(const std::string&) override { return no(); }
  outcome<void> unfreeze(const std::string&) override { return no(); }
  outcome<std::unique_ptr<exec_session>> exec(const std::string&, pid_t, exec_plan) override { return no(); }
  outcome<std::unique_ptr<exec_session>> console(const std::string&, uint16_t, uint16_t) override { return no(); }
  outcome<std::string> console_log(const std::string&, bool) override { return no(); }
  outcome<void> limit(const std::string&, const config_map&, const std::vector<disk_limit>&) override { return no(); }
  outcome<void> plug(const live_instance&, const mount_plan&) override { return no(); }
  outcome<void> unplug(const live_instance&, const mount_plan&) override { return no(); }
  outcome<void> plug(const live_instance&, const node_plan&) override { return no(); }
  outcome<void> unplug(const live_instance&, const node_plan&) override { return no(); }
  outcome<file_info> read_file(const file_root&, const std::string&) override { return no(); }
  outcome<unique_fd> write_file(const file_root&, const std::string&, const file_write&) override { return no(); }
  outcome<void> finish_write(const unique_fd&) override { return no(); }
  outcome<void> remove_file(const file_root&, const std::string&) override { return no(); }
  outcome<unique_fd> serve_sftp(const file_root&) override { return no(); }
  usage measure(const std::string&, pid_t) override { return {}; }
  counters count(const std::string&, pid_t) override { return {}; }
  std::vector<pid_t> sweep(const std::string&) override { return {}; }

private:
  static tl::unexpected<error> no() { return fail(fault::unsupported, "Nothing runs here"); }
};

inline caf::actor_system_config& threads(caf::actor_system_config& config) {
  config.set("scheduler.max-threads", size_t{2});
  config.set("scheduler.policy", caf::atom("sharing"));
  return config;
}

inline std::string make_folder() {
  std::string path = (::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") + std::string{"/troupe-events-XXXXXX"};
  return ::mkdtemp(path.data()) ? path : std::string{};
}

/// A daemon that has only its store and its event log, in a folder of its own, by default in memory.
struct stage {
  std::string folder;
  std::unique_ptr<store> db;
  idle_driver driver;
  image_store images{folder + "/images", "/bin/false"};
  blocking_pool blocking{4};
  loop io{"test"};
  caf::actor_system_config config;
  caf::actor_system system{threads(config)};
  std::optional<services> with;
  caf::actor events, writer;

  /// `events_before`: committed before any actor runs.
  explicit stage(int events_before = 0, std::string where = make_folder()) : folder{std::move(where)} {
    auto opened = store::open(folder, "m1");
    if (!opened) throw std::runtime_error{opened.error().message};
    db = std::move(*opened);
    with.emplace(services{system, io, blocking, *db, driver, driver, images, {}, "m1", {}});
    for (int i = 0; i < events_before; i += 1000) commit_directly(std::min(1000, events_before - i));
    start();
  }
  ~stage() {
    stop();
    system.await_all_actors_done();
    db.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }

  void start() {
    auto begin = [&](role who, auto behavior) {
      auto made = system.spawn([this, behavior](caf::event_based_actor* self) { return behavior(self, *with); });
      with->enter(who, made);
      return made;
    };
    writer = begin(role::store, store_actor);
    events = begin(role::events, event_log);
  }
  void stop() {
    caf::scoped_actor self{system};
    for (auto* one : {&events, &writer}) {
      self->send_exit(*one, caf::exit_reason::user_shutdown);
      self->wait_for(*one);
      *one = nullptr;
    }
    with->forget_all();
  }

  static message<schema::Event> event(const std::string& name, const std::string& action = "instance-updated",
                                      const std::string& project = "default") {
    return message<schema::Event>::make([&](schema::Event::Builder e) {
      e.setKind("instance");
      e.setProject(project);
      e.setEntity(name);
      e.setAction(action);
      e.setSource("/1.0/instances/" + name);
    });
  }
  void commit_directly(int count) {
    batch change;
    for (int i = 0; i < count; ++i) change.events.push_back(event("c" + std::to_string(i % 10)));
    if (auto done = db->commit({&change, 1}); !done.front()) throw std::runtime_error{done.front().error().message};
  }
  /// Through the store actor, as everybody does; returns when it is committed.
  void commit(batch change) { ask<committed_ptr>(writer, propose{std::make_shared<const batch>(std::move(change))}); }
  void commit(int count) {
    batch change;
    for (int i = 0; i < count; ++i) change.events.push_back(event("c" + std::to_string(i % 10)));
    commit(std::move(change));
  }

  template <class Reply, class Request>
  outcome<Reply> try_ask(const caf::actor& whom, Request request) {
    caf::scoped_actor self{system};
    outcome<Reply> out = fail(fault::internal, "no answer");
    self->request(whom, std::chrono::seconds{30}, std::move(request))
        .receive([&](const Reply& reply) { out = reply; },
                 [&](caf::error& why) { out = tl::unexpected{from_caf(why)}; });
    return out;
  }
  template <class Reply, class Request>
  Reply ask(const caf::actor& whom, Request request) {
    auto reply = try_ask<Reply>(whom, std::move(request));
    if (!reply) throw std::runtime_error{reply.error().message};
    return *reply;
  }
};

} // namespace troupe::test
