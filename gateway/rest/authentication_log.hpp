#pragma once

#include "actors/services.hpp"
#include "gateway/trust.hpp"

#include <chrono>
#include <map>
#include <string>

namespace troupe {

/// Puts into the event log who came in and who was turned away. One event for the same caller, host and result within a
/// while, so that a flood of requests is not a flood of events. One thread.
class authentication_log {
public:
  explicit authentication_log(services& with) : with_{with} {}

  void came_in(const header& head);
  /// `why`: what the server knows of the reason, which the caller is not told.
  /// `asked`: for what.
  void turned_away(const header& head, const http_peer& peer, config_map asked, const std::string& why);

private:
  bool is_news(std::string_view name, const header& head);
  void tell(message<schema::Event> event);

  services& with_;
  std::map<std::string, std::chrono::steady_clock::time_point> told_;
};

} // namespace troupe
