#pragma once

#include <caf/actor.hpp>
#include <caf/behavior.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/stateful_actor.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace troupe {

enum class restart : uint8_t { permanent, transient, temporary };         // always, if it failed, never
enum class strategy : uint8_t { one_for_one, rest_for_one, one_for_all }; // who falls with the fallen

struct actor_spec {
  std::string id;
  std::function<caf::actor(caf::event_based_actor* parent)> start;
  restart rule = restart::permanent;
  std::chrono::milliseconds grace{5000}; // asked to leave (exit_reason::user_shutdown), then killed
};

struct supervisor_spec { // children start top to bottom and stop bottom to top
  std::string name;
  strategy on_failure = strategy::one_for_one;
  size_t restarts_max = 3; // more than this within the period: stop everything, fail towards the parent
  std::chrono::milliseconds restart_period{10000};
  std::vector<actor_spec> children;
};

/// OTP's supervisor on CAF. A restarted child has a new handle; ask the supervisor for it by id.
/// Messages: (get_atom, std::string id) -> caf::actor or error not_found; (add_atom: see supervisor.cpp) adds a child
/// at run time. It exits with exit_reason::kill towards its parent when the restart intensity is passed (escalation).
caf::actor spawn_supervisor(caf::actor_system& system, supervisor_spec spec);
caf::actor spawn_supervisor(caf::event_based_actor* parent, supervisor_spec spec); // as a child of another

} // namespace troupe
