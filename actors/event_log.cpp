#include "actors/event_log.hpp"

#include "actors/lifecycle_event.hpp"
#include "actors/records.hpp"
#include "messages/json.hpp"
#include "messages/time.hpp"

#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

using subscribers = std::map<uint64_t, std::function<void(const event_frame&)>>;

constexpr std::string_view type_names[] = {"lifecycle", "operation", "logging"};
constexpr std::string_view level_names[] = {"debug", "debug", "info", "warning", "error", "error", "error"};

void fan_out(const subscribers& to, const event_frame& frame) {
  for (auto& [id, deliver] : to) deliver(frame);
}

event_frame frame_of(schema::Event::Reader event) {
  return {std::make_shared<const std::string>(event_json(event)), type_names[static_cast<size_t>(event.getType())],
          text(event.getProject()), event.getSeq()};
}

event_frame frame_of(const log_line& line, const std::string& member) {
  std::string json = "{";
  write_json_name(json, "type");
  write_json_string(json, "logging");
  write_json_name(json, "timestamp");
  write_json_string(json, to_rfc3339(now_ns()));
  json += ",\"metadata\":{";
  write_json_name(json, "message");
  write_json_string(json, line.text);
  write_json_name(json, "level");
  write_json_string(json, level_names[std::min<size_t>(static_cast<size_t>(line.level), std::size(level_names) - 1)]);
  json += ",\"context\":{}}";
  write_json_name(json, "location");
  write_json_string(json, member);
  json += '}';
  return {std::make_shared<const std::string>(std::move(json)), "logging", {}, 0};
}

} // namespace

caf::behavior event_log(caf::event_based_actor*, services& with) {
  auto live = std::make_shared<subscribers>();
  return {
      [live](const committed_ptr& done) {
        if (live->empty()) return;
        for (auto& event : done->events) event.read([&](schema::Event::Reader e) { fan_out(*live, frame_of(e)); });
      },
      [live](subscribe& request) { live->insert_or_assign(request.id, std::move(request.deliver)); },
      [live](unsubscribe request) { live->erase(request.id); },
      [live, &with](const log_line& line) {
        if (!live->empty()) fan_out(*live, frame_of(line, with.server_name));
      },
  };
}

} // namespace troupe
