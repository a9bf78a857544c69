#include "actors/instance_guest.hpp"
#include "actors/ask.hpp"
#include "actors/guest.hpp"
#include "actors/instance_status.hpp"
#include "actors/warnings.hpp"

#include <caf/event_based_actor.hpp>

namespace troupe {

void open_guest_door(const instance_ptr& me, const spec_record& spec, std::function<void(std::string folder)> then) {
  auto [id, wanted] = spec.read([&](schema::InstanceSpec::Reader s) {
    return std::pair{s.getId(), get(expand(me->with.db.read(), s).config, "security.devlxd", "true") != "false"};
  });
  auto doors = me->with.find(role::doors);
  if (!wanted || !doors) return then("");
  ask<std::string>(me->self, doors, open_guest{me->project, me->name, id},
                   [me, then](const outcome<std::string>& made) {
                     if (made) {
                       resolve_warning(me->with, warnings::no_guest_api, me->project, me->url());
                       return then(*made);
                     }
                     log().warn("Instance {} starts without the guest API: {}", me->id(), made.error().message);
                     raise_warning(me->with, warnings::no_guest_api, me->project, me->url(), made.error().message);
                     then("");
                   });
}

void close_guest_door(const instance_ptr& me, std::function<void()> then) {
  auto spec = me->spec();
  auto doors = me->with.find(role::doors);
  if (!spec || !doors) return then();
  close_guest gone{spec->read([](schema::InstanceSpec::Reader s) { return s.getId(); })};
  ask<void>(me->self, doors, gone, [then](const outcome<void>&) { then(); });
}

caf::result<caf::unit_t> note_ready(const instance_ptr& me, bool ready) {
  if (me->now != instance_state::RUNNING) return to_caf({fault::wrong_state, "Instance is not running"});
  if (me->status.read([](schema::InstanceStatus::Reader s) { return s.getReady(); }) == ready) return caf::unit;
  me->status = changed(me->status, [&](schema::InstanceStatus::Builder s) { s.setReady(ready); });
  if (ready)
    record_unasked(me, "instance-ready");
  else
    record_state(me, "");
  return caf::unit;
}

} // namespace troupe
