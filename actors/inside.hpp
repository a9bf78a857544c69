#pragma once

#include "actors/services.hpp"
#include "runtime/keyed_work.hpp"

namespace troupe {

/// As on_blocking_thread, for what enters the instance `key` and may hang there: it takes no thread of the others'.
/// What ends an instance is not done here, but on a blocking thread.
template <class Self, class Work, class Then>
void inside_instance(Self* self, services& with, const std::string& key, Work work, Then then) {
  using result = std::invoke_result_t<Work>;
  auto back = caf::actor_cast<caf::actor>(self);
  bool taken = with.blocking.submit(keyed_work{key, [back, work = std::move(work), then]() mutable {
                                                 auto value = std::make_shared<result>(work());
                                                 auto go_on = [then, value]() mutable { then(std::move(*value)); };
                                                 caf::anon_send(back, resume{go_on});
                                               }});
  if (!taken) then(result{fail(fault::busy, "The instance has too much to do right now; try again")});
}

} // namespace troupe
