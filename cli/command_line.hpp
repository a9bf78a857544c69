#pragma once

namespace troupe {

/// The whole program: parses, runs one command of the table. Returns the exit code: 0 done, 1 failed ("Error: …" on
/// stderr), 2 the command line makes no sense.
int run_command_line(int argc, char** argv);

} // namespace troupe
