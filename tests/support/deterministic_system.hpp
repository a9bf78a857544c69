#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/atom.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <chrono>
#include <cstdint>
#include <random>

namespace troupe {

struct deterministic_config : caf::actor_system_config {
  deterministic_config() { set("scheduler.policy", caf::atom("testing")); }
};

/// An actor system without threads and wall clock: messages and time move only when the test says so. The test stops
/// its actors (send_exit, run) before this is destroyed; a cycle of actors left alive would hang it.
struct deterministic_system {
  deterministic_config config;
  caf::actor_system system{config};
  caf::scoped_actor self{system, true};
  caf::scheduler::test_coordinator& scheduler = dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());

  deterministic_system() = default;
  deterministic_system(const deterministic_system&) = delete;
  deterministic_system& operator=(const deterministic_system&) = delete;
  ~deterministic_system() {
    scheduler.run();
    scheduler.clock().cancel_all(); // timeouts hold actors alive
  }

  /// Delivers everything that can be delivered now.
  void run() { scheduler.run(); }

  /// The same, ready actors in an order drawn from `seed`: same seed, same run.
  void run_shuffled(uint32_t seed) {
    std::minstd_rand dice{seed};
    for (auto& jobs = scheduler.jobs; !jobs.empty(); scheduler.run_once())
      std::swap(jobs.front(), jobs[dice() % jobs.size()]);
  }

  /// Lets virtual time pass, then delivers what came due.
  void advance(std::chrono::nanoseconds time) {
    scheduler.advance_time(time);
    scheduler.run();
  }
};

} // namespace troupe
