#include "gateway/door.hpp"

#include <pwd.h>

namespace troupe {
namespace {

std::string user_name(uint32_t uid) {
  if (uid == 0) return "root";
  char buffer[4096];
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found) return found->pw_name;
  return std::to_string(uid);
}

} // namespace

caf::behavior door(caf::event_based_actor* self, services&) {
  return {[self](const door_work& work) { work.run(self); }};
}

principal unix_principal(uint32_t uid) { return {user_name(uid), "unix", "@", uid}; }

} // namespace troupe
