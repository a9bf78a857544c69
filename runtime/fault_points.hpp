#pragma once

#include "messages/error.hpp"

#include <caf/actor.hpp>
#include <caf/actor_addr.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// Faults on purpose, for the fault tests: at a named point the daemon kills itself or what it does there fails, and
/// any actor can be killed. Exists only in a daemon that was started with TROUPE_FAULTS in its environment; elsewhere
/// each point costs the test of one pointer. Thread-safe.
class fault_points {
public:
  enum class effect : uint8_t { none, fail, kill };

  /// From TROUPE_FAULTS: "POINT=kill,POINT=fail" or empty. nullptr: it is not set. invalid: it is not to be understood.
  static outcome<std::unique_ptr<fault_points>> from_environment();

  /// Replaces what was armed before. invalid: not to be understood.
  outcome<void> arm(std::string_view list);
  /// Tells what to do at this point. With `kill` it does not return: the process ends as by kill -9.
  effect reach(const std::string& point);

  struct actor_entry {
    std::string kind, name;
  };
  void enter(std::string kind, std::string name, const caf::actor& who);
  std::vector<actor_entry> actors(); // those that live
  /// not_found: none of that kind and name lives.
  outcome<void> kill_actor(const std::string& kind, const std::string& name);

private:
  std::mutex guard_;
  std::map<std::string, effect, std::less<>> armed_;
  std::map<std::pair<std::string, std::string>, caf::actor_addr> actors_;
};

} // namespace troupe
