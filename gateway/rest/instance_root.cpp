#include "gateway/rest/instance_root.hpp"

#include "actors/records.hpp"
#include "runtime/keyed_work.hpp"

namespace troupe {

void with_root(const rest_request& from, std::function<void(const located_root&)> work) {
  ask<file_root_ptr>(
      from, role::instances,
      [from, work = std::move(work)](const outcome<file_root_ptr>& root) {
        if (!root) return reply_error(from, root.error());
        bool taken = from.with().blocking.submit(
            keyed_work{instance_key(from.head->project, from.parameter(0)), [root = *root, work] { work(*root); }});
        if (!taken) reply_error(from, {fault::busy, "The instance has too much to do right now; try again"});
      },
      to_instance{from.head->project, from.parameter(0)}, locate_root{from.head});
}

} // namespace troupe
