#include "cli/event_stream.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <iostream>

namespace troupe {

outcome<void> run_monitor(const invocation& call) {
  std::string target = "/1.0/events";
  if (auto& types = call.text("--type"); !types.empty()) target += "?type=" + url_encode(types);
  server daemon{call.dir};
  return read_messages(daemon.http(), target, [](const std::string& event) {
    std::cout << event << std::endl; // each at once: somebody may wait at the other end of a pipe
    return static_cast<bool>(std::cout);
  });
}

} // namespace troupe
