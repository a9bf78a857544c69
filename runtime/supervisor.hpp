#pragma once

#include <caf/actor.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/fwd.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace troupe {

enum class restart : uint8_t { permanent, transient, temporary };         // always, if it failed, never
enum class strategy : uint8_t { one_for_one, rest_for_one, one_for_all }; // who falls with the fallen

struct actor_spec {
  std::string id;
  /// Runs inside the supervisor, so it must not block. A throw or an empty handle is a failed start.
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
  /// Told of every child that failed and was started again (also of its neighbours', if the strategy took them along),
  /// inside the supervisor; `why` is the failed one's reason.
  std::function<void(const std::string& child, const std::string& why)> on_restart = {};
};

/// Starts one more child below the others -> caf::actor. already_exists: a child of this id is known.
/// A child added so is forgotten when it ends for good; its id is then free again.
struct add_child {
  actor_spec spec;
};

/// Stops a child in order and forgets it -> unit, once it is gone. not_found: no such child.
struct remove_child {
  std::string id;
};

/// OTP's supervisor on CAF. "Failed" is every exit reason but normal and user_shutdown. A restarted child has a new
/// handle; ask the supervisor for it by id. One thing at a time: what arrives while children are being stopped (other
/// ends, add_child, remove_child) waits its turn. Only one start (of the first children) may not fail: then it
/// escalates.
///
/// Messages (errors: `from_caf` of runtime/actor_error.hpp):
///   (caf::get_atom, std::string id) -> caf::actor   not_found: no such child; busy: it is not running just now
///   (add_child)                     -> caf::actor   wrong_state: the supervisor is stopping
///   (remove_child)                  -> unit         wrong_state: the same
///
/// `send_exit(supervisor, user_shutdown)` stops the children in order, then the supervisor with that reason. When the
/// restart intensity is passed it does the same and exits with exit_reason::kill, so that its parent counts a failure.
/// Killed itself, it takes its children along at once.
caf::actor spawn_supervisor(caf::actor_system& system, supervisor_spec spec);
caf::actor spawn_supervisor(caf::event_based_actor* parent, supervisor_spec spec); // as a child of another

} // namespace troupe

// They hold functions and never leave the process.
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::add_child)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::remove_child)
