#include "cli/event_line.hpp"

#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

namespace {

std::string text(const json& object, const char* key) {
  auto at = object.find(key);
  return at == object.end() || !at->is_string() ? "" : at->get<std::string>();
}

std::string number(const json& object, const char* key) { return object.contains(key) ? object[key].dump() : "?"; }

const json& metadata_of(const json& frame) {
  static const json none = json::object();
  auto at = frame.find("metadata");
  return at == frame.end() || !at->is_object() ? none : *at;
}

std::string context_of(const json& metadata) {
  std::string out;
  if (auto at = metadata.find("context"); at != metadata.end() && at->is_object())
    for (auto& [key, value] : at->items())
      out += "  " + key + "=" + (value.is_string() ? value.get<std::string>() : value.dump());
  return out;
}

std::string own_frame(const std::string& type, const json& frame) {
  if (type == "gap")
    return "-- events " + number(frame, "from") + " to " + number(frame, "to") + " are not kept any more";
  if (type == "snapshot") return "== " + text(frame, "kind") + ' ' + text(frame, "project") + '/' + text(frame, "name");
  if (type == "error") return "-- " + text(frame, "error");
  return "-- " + type + ' ' + text(frame, "cursor");
}

} // namespace

std::string event_headline(const json& event) {
  auto& metadata = metadata_of(event);
  auto type = text(event, "type");
  if (type == "operation") return text(metadata, "description") + ": " + text(metadata, "status");
  if (type == "logging") return text(metadata, "level") + ": " + text(metadata, "message");
  if (type == "security") return text(metadata, "name") + ": " + text(metadata, "description");
  return text(metadata, "action");
}

std::string event_line(const json& frame) {
  auto type = text(frame, "type");
  if (type != "lifecycle" && type != "operation" && type != "logging" && type != "security")
    return own_frame(type, frame);
  auto& metadata = metadata_of(frame);
  auto out = text(frame, "timestamp").substr(0, 23) + "  " + event_headline(frame);
  auto thing = type == "operation" ? text(metadata, "id") : text(metadata, "source");
  if (!thing.empty()) out += "  " + thing;
  out += context_of(metadata);
  if (auto who = metadata.find("requestor"); who != metadata.end()) out += "  by " + text(*who, "username");
  return out;
}

} // namespace troupe
