#include "actors/lifecycle_event.hpp"
#include "actors/records.hpp"
#include "actors/sink.hpp"
#include "messages/json.hpp"
#include "messages/time.hpp"

namespace troupe {
namespace {

// Events that were gone before this sink could deliver them: whoever counts on seeing all has to know.
sink_record gap_record(const delivery& from, const std::string& cursor) {
  auto time = to_rfc3339(now_ns());
  std::string data = R"({"type":"gap","timestamp":)";
  write_json_string(data, time);
  data += R"(,"metadata":{"from":)" + std::to_string(from.gap_from) + R"(,"to":)" + std::to_string(from.gap_to) + "}";
  write_json_name(data, "location");
  write_json_string(data, from.at.member);
  write_json_name(data, "cursor");
  write_json_string(data, cursor);
  // Not the cursor alone: the last event of a gap would have had the same.
  return {cursor + ":gap", from.at.member, "gap", "_.events.log.gap", time, data + "}"};
}

} // namespace

sink_record to_record(const delivery& from) {
  auto cursor = to_string(from.at);
  if (from.what == delivery::kind::gap) return gap_record(from, cursor);
  return from.event.read([&](schema::Event::Reader event) -> sink_record {
    auto facts = facts_of(event);
    return {cursor,
            text(event.getMember()),
            std::string{type_name(event.getType())} + "." + facts.kind + "." + facts.verb,
            subject_of(facts),
            to_rfc3339(event.getTime()),
            event_json(event, cursor)};
  });
}

} // namespace troupe
