#include "runtime/fault_points.hpp"

#include <caf/abstract_actor.hpp>
#include <caf/actor_cast.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <csignal>
#include <cstdlib>
#include <unistd.h>

namespace troupe {

outcome<std::unique_ptr<fault_points>> fault_points::from_environment() {
  auto* list = std::getenv("TROUPE_FAULTS");
  if (!list) return nullptr;
  auto made = std::make_unique<fault_points>();
  if (auto done = made->arm(list); !done) return tl::unexpected{done.error()};
  return made;
}

outcome<void> fault_points::arm(std::string_view list) {
  std::map<std::string, effect, std::less<>> wanted;
  while (!list.empty()) {
    auto entry = list.substr(0, list.find(','));
    list.remove_prefix(std::min(entry.size() + 1, list.size()));
    auto equals = entry.find('=');
    auto what = equals == entry.npos ? std::string_view{} : entry.substr(equals + 1);
    if (what != "kill" && what != "fail")
      return fail(fault::invalid, "TROUPE_FAULTS is a list of POINT=kill or POINT=fail");
    wanted[std::string{entry.substr(0, equals)}] = what == "kill" ? effect::kill : effect::fail;
  }
  std::lock_guard lock{guard_};
  armed_ = std::move(wanted);
  return {};
}

fault_points::effect fault_points::reach(const std::string& point) {
  std::lock_guard lock{guard_};
  auto at = armed_.find(point);
  if (at == armed_.end()) return effect::none;
  if (at->second == effect::kill) ::kill(getpid(), SIGKILL);
  return at->second;
}

void fault_points::enter(std::string kind, std::string name, const caf::actor& who) {
  std::pair key{std::move(kind), std::move(name)};
  {
    std::lock_guard lock{guard_};
    actors_.insert_or_assign(key, who.address());
  }
  // Somebody may hold a dead actor for a while. The next of this name may be there already.
  caf::actor_cast<caf::abstract_actor*>(who)->attach_functor([this, key, gone = who.address()] {
    std::lock_guard lock{guard_};
    if (auto at = actors_.find(key); at != actors_.end() && at->second == gone) actors_.erase(at);
  });
}

std::vector<fault_points::actor_entry> fault_points::actors() {
  std::lock_guard lock{guard_};
  std::vector<actor_entry> out;
  for (auto& [key, who] : actors_) out.push_back({key.first, key.second});
  return out;
}

outcome<void> fault_points::kill_actor(const std::string& kind, const std::string& name) {
  std::lock_guard lock{guard_};
  auto at = actors_.find({kind, name});
  auto who = at == actors_.end() ? nullptr : caf::actor_cast<caf::actor>(at->second);
  if (!who) return fail(fault::not_found, "No actor " + kind + " " + name + " lives");
  caf::anon_send_exit(who, caf::exit_reason::kill);
  return {};
}

} // namespace troupe
