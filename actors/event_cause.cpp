#include "actors/event_cause.hpp"

#include "actors/records.hpp"

namespace troupe {

void mark_cause(batch& change, const std::string& operation) {
  for (auto& event : change.events)
    event = event.read([&](schema::Event::Reader from) {
      if (from.getType() != schema::Event::Type::LIFECYCLE || from.getOperation().size() > 0) return event;
      return changed(event, [&](schema::Event::Builder e) { e.setOperation(operation); });
    });
}

} // namespace troupe
