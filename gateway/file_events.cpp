#include "gateway/file_events.hpp"

#include "actors/lifecycle_event.hpp"
#include "actors/store_actor.hpp"

namespace troupe {

void tell_file_event(const services& with, const header& head, const std::string& instance, std::string_view action,
                     const std::string& path) {
  batch what;
  what.events.push_back(
      lifecycle_event(head, "instance", instance, action, "/1.0/instances/" + instance, {{"path", path}}));
  caf::anon_send(with.find(role::store), propose{std::make_shared<const batch>(std::move(what))});
}

} // namespace troupe
