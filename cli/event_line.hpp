#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace troupe {

/// A frame of the event stream for a person: "2026-01-02T03:04:05  instance-started  /1.0/instances/c1  by root".
std::string event_line(const nlohmann::json& frame);

/// What an event says happened: the action, or an operation's description and status, or a log line.
std::string event_headline(const nlohmann::json& event);

} // namespace troupe
