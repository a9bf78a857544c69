#pragma once

#include "gateway/door.hpp"

#include <functional>
#include <memory>
#include <set>
#include <string>

namespace troupe {

/// Tells instances what changes in the configuration and the devices that they can see. Follows the event log as long
/// as somebody listens. Thread-safe.
class guest_events {
public:
  explicit guest_events(services& with);
  ~guest_events();

  struct listener {
    std::string project, name;
    std::set<std::string> types;                  // config, device; empty: all
    std::function<bool(const std::string&)> tell; // one JSON object, without a line's end; false: nobody listens
  };
  /// The answer's life is the listener's.
  std::shared_ptr<void> listen(listener who);

private:
  struct data;
  std::shared_ptr<data> data_;
};

/// What an instance may see of its configuration: user.* and cloud-init.*
bool is_shown_to_guest(std::string_view key);

} // namespace troupe
