#include "runtime/config.hpp"

#include <CLI/CLI.hpp>
#include <cctype>

namespace troupe {

outcome<daemon_config> parse_command_line(int argc, const char* const* argv) {
  daemon_config made;
  CLI::App app{"The daemon of Troupe, which runs system containers and virtual machines", "trouped"};
  app.add_option("--dir", made.directory, "Where the daemon keeps its state")
      ->envname("TROUPE_DIR")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_flag("--debug", made.debug, "Log what is done in detail");
  app.set_version_flag("--version", std::string{TROUPE_VERSION});
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    made.say = app.help();
  } catch (const CLI::CallForVersion&) {
    made.say = std::string{"trouped "} + TROUPE_VERSION + "\n";
  } catch (const CLI::ParseError& e) {
    return fail(fault::invalid, e.what());
  }
  if (made.directory.empty()) return fail(fault::invalid, "The state directory has no name");
  return made;
}

} // namespace troupe
