#pragma once

#include "messages/error.hpp"
#include "runtime/state_dir.hpp"

#include <string>

namespace troupe {

/// What the daemon is told on its command line; everything else is in its database.
struct daemon_config {
  std::string directory = "/var/lib/troupe"; // --dir, else $TROUPE_DIR; see prepare_state_dir
  bool debug = false;                        // --debug
  std::string say;                           // not empty (--help, --version): print it and end well
};

/// invalid: an option that is unknown or wants a value, with the sentence to show.
outcome<daemon_config> parse_command_line(int argc, const char* const* argv);

} // namespace troupe
