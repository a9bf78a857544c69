#pragma once

#include <functional>
#include <memory>
#include <spdlog/fmt/fmt.h>
#include <spdlog/logger.h>
#include <string>
#include <string_view>

// libfmt has it compiled; without this, each file that logs compiles all of fmt's formatting once more.
extern template void fmt::detail::vformat_to<char>(buffer<char>&, string_view, format_args, locale_ref);

namespace troupe {

/// The daemon's log: to stderr and DIR/logs/troupe.log (rotated), one line an entry: time, level, message, key=value
/// pairs. Control characters in values are escaped. Entries of level info and above can also be observed (events of
/// type logging). Call once in main before any thread starts; `log()` is then valid everywhere and thread-safe. Before
/// that, and in tests, it writes warnings and worse to stderr. A file that cannot be opened is reported on stderr and
/// done without.
void open_log(const std::string& file, bool debug);
spdlog::logger& log();

/// "key=value" for the end of a message; a value with blanks, quotes or nothing in it is quoted.
std::string field(std::string_view key, std::string_view value);

/// Called for every entry >= info with (level, message); must not block. `level` is a spdlog::level::level_enum, the
/// message is escaped as in the file. What the observer itself logs is not observed. An empty one ends the observing.
void observe_log(std::function<void(int level, std::string_view message)> observer);

} // namespace troupe
