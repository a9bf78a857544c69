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

void ask_untyped(role door, const services& with, role whom, caf::message request,
                 std::function<void(const caf::message&)> then) {
  auto work = [to = with.find(whom), request = std::move(request),
               then = std::move(then)](caf::event_based_actor* self) {
    if (to) return ask_untyped(self, to, request, then);
    then(caf::make_message(to_caf({fault::busy, "This part of the server is being restarted; try again"})));
  };
  caf::anon_send(with.find(door), door_work{std::move(work)});
}

principal unix_principal(uint32_t uid) { return {user_name(uid), "unix", "@", uid}; }

} // namespace troupe
