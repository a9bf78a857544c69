#include "actors/instance_guest.hpp"
#include "actors/ask.hpp"
#include "actors/guest.hpp"
#include "actors/instance_status.hpp"
#include "actors/store_actor.hpp"
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

caf::response_promise note_ready(const instance_ptr& me, bool ready) {
  auto promise = promise_of(me->self);
  outcome<void> good;
  if (me->now != instance_state::RUNNING) good = fail(fault::wrong_state, "Instance is not running");
  if (good && me->telling_ready) good = fail(fault::busy, "The last change is not recorded yet");
  bool was = me->status.read([](schema::InstanceStatus::Reader s) { return s.getReady(); });
  if (!good || was == ready) {
    answer(promise, good);
    return promise;
  }
  me->telling_ready = true;
  me->status = changed(me->status, [&](schema::InstanceStatus::Builder s) { s.setReady(ready); });
  bool told = !ready || std::exchange(me->ready_life, me->life) == me->life;
  commit(me->self, me->with, result_with(me, told ? "" : "instance-ready")->more, [me, promise](outcome<void> done) {
    me->telling_ready = false;
    answer(promise, done);
  });
  return promise;
}

} // namespace troupe
