#pragma once

#include "actors/figures.hpp"
#include "actors/glue.hpp"
#include "actors/step_turns.hpp"
#include "backends/image/image_store.hpp"
#include "backends/instance/instance_driver.hpp"
#include "messages/instance.capnp.h"
#include "persist/store.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/fault_points.hpp"
#include "runtime/log.hpp"
#include "runtime/loop.hpp"
#include "runtime/state_dir.hpp"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <memory>
#include <optional>
#include <string>

namespace troupe {

/// The addressable parts of the tree. A restarted actor has a new handle: look it up by its role at every use.
enum class role : uint8_t {
  store,
  events,
  operations,
  images,
  pools,
  networks,
  profiles,
  projects,
  instances,
  server,
  sinks,
  certificates,
  scheduler,
  identities,
  doors, // the gateway's own actor: listeners
  rest_door,
  bus_door,
};
constexpr size_t role_count = 17;

/// What the actors share: the outside world behind narrow interfaces. Built by main, outlives every actor.
/// All members are thread-safe.
struct services {
  caf::actor_system& system;
  loop& io;
  blocking_pool& blocking;
  store& db;
  instance_driver& containers;
  instance_driver& machines; // runs virtual machines
  image_store& image_files;
  state_dir dir;
  std::string server_name;
  id_range ids; // what unprivileged instances may use on this host (root's line of /etc/subuid, or LXD's default)
  std::shared_ptr<step_turns> turns = std::make_shared<step_turns>();
  std::shared_ptr<figures> counted = std::make_shared<figures>();
  fault_points* faults = nullptr; // only for fault tests
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  instance_driver& driver(schema::InstanceType type) const {
    return type == schema::InstanceType::VIRTUAL_MACHINE ? machines : containers;
  }
  caf::actor find(role who) const;
  void enter(role who,
             const caf::actor& self) const; // whoever starts the actor makes it known, before it can be asked for
  void forget_all() const;                  // at the end, when none of them runs any more
};

/// Runs `work` on a blocking thread and `then(result)` back in the actor.
template <class Self, class Work, class Then>
void on_blocking_thread(Self* self, services& with, Work work, Then then) {
  using result = std::invoke_result_t<Work>;
  auto back = caf::actor_cast<caf::actor>(self);
  bool taken = with.blocking.submit([back, work = std::move(work), then]() mutable {
    auto value = std::make_shared<result>(work());
    caf::anon_send(back, resume{[then, value]() mutable { then(std::move(*value)); }});
  });
  if (!taken) then(result{fail(fault::busy, "The server has too much to do right now; try again")});
}

/// Performs a step when its operation's turn comes: perform(promise), whose answer ends the turn.
template <class Self, class Perform>
caf::response_promise in_turn(Self* self, services& with, const std::string& operation, Perform perform) {
  auto promise = promise_of(self);
  auto back = caf::actor_cast<caf::actor>(self);
  auto turn = with.turns->take(operation, [back, promise, perform](step_turns::turn mine) {
    promise.hold(std::move(mine));
    caf::anon_send(back, resume{[promise, perform] { perform(promise); }});
  });
  if (turn) {
    promise.hold(std::move(turn));
    perform(promise);
  }
  return promise;
}

} // namespace troupe
