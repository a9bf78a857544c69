#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <random>
#include <vector>

namespace troupe {

/// CAF's own knows one thread only. What others (a blocking pool, a loop) send waits here for the test's thread.
class test_scheduler final : public caf::scheduler::test_coordinator {
public:
  using test_coordinator::test_coordinator;
  void enqueue(caf::resumable* job) override {
    std::lock_guard lock{mutex_};
    arrived_.push_back(job);
  }
  void stop() override {
    deliver();
    test_coordinator::stop();
  }
  /// True: there is something to run.
  bool take() {
    std::lock_guard lock{mutex_};
    jobs.insert(jobs.end(), arrived_.begin(), arrived_.end());
    arrived_.clear();
    return !jobs.empty();
  }
  void deliver() {
    while (take()) run_once();
  }

private:
  std::mutex mutex_;
  std::vector<caf::resumable*> arrived_;
};

struct deterministic_config : caf::actor_system_config {
  deterministic_config() {
    module_factories.push_back(
        [](caf::actor_system& system) -> caf::actor_system::module* { return new test_scheduler{system}; });
  }
};

/// An actor system without threads and wall clock: messages and time move only when the test says so. The test stops
/// its actors (send_exit, run) before this is destroyed; a cycle of actors left alive would hang it.
struct deterministic_system {
  deterministic_config config;
  caf::actor_system system{config};
  caf::scoped_actor self{system, true};
  test_scheduler& scheduler = dynamic_cast<test_scheduler&>(system.scheduler());

  deterministic_system() = default;
  deterministic_system(const deterministic_system&) = delete;
  deterministic_system& operator=(const deterministic_system&) = delete;
  ~deterministic_system() {
    scheduler.deliver();
    scheduler.clock().cancel_all(); // timeouts hold actors alive
  }

  /// Delivers everything that can be delivered now.
  void run() { scheduler.deliver(); }

  /// The same, ready actors in an order drawn from `seed`: same seed, same run.
  void run_shuffled(uint32_t seed) {
    std::minstd_rand dice{seed};
    for (auto& jobs = scheduler.jobs; scheduler.take(); scheduler.run_once())
      std::swap(jobs.front(), jobs[dice() % jobs.size()]);
  }

  /// Lets virtual time pass, then delivers what came due.
  void advance(std::chrono::nanoseconds time) {
    scheduler.advance_time(time);
    scheduler.deliver();
  }
};

} // namespace troupe
