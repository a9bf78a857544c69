#include "gateway/door.hpp"

#include <future>
#include <pwd.h>

namespace troupe {
namespace {

caf::behavior door_behavior(caf::event_based_actor* self, std::promise<caf::event_based_actor*>* here) {
  here->set_value(self);
  return {[](resume& work) { work.run(); }};
}

std::string user_name(uint32_t uid) {
  if (uid == 0) return "root";
  char buffer[4096];
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found) return found->pw_name;
  return std::to_string(uid);
}

} // namespace

door open_door(caf::actor_system& system) {
  std::promise<caf::event_based_actor*> here;
  auto actor = system.spawn(door_behavior, &here);
  return {actor, here.get_future().get()};
}

principal unix_principal(uint32_t uid) { return {user_name(uid), "unix", "@", uid}; }

} // namespace troupe
