#include "gateway/file_events.hpp"

#include "actors/lifecycle_event.hpp"
#include "actors/store_actor.hpp"

namespace troupe {

void tell_instance_event(const services& with, const header& head, const std::string& instance, std::string_view action,
                         const std::string& below, const config_map& context) {
  batch what;
  what.events.push_back(
      lifecycle_event(head, "instance", instance, action, "/1.0/instances/" + instance + below, context));
  caf::anon_send(with.find(role::store), propose{std::make_shared<const batch>(std::move(what))});
}

void tell_file_event(const services& with, const header& head, const std::string& instance, std::string_view action,
                     const std::string& path) {
  tell_instance_event(with, head, instance, action, "", {{"path", path}});
}

} // namespace troupe
