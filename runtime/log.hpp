#pragma once

#include <functional>
#include <memory>
#include <spdlog/fmt/fmt.h>
#include <spdlog/logger.h>
#include <string>

namespace troupe {

/// The daemon's log: to stderr and DIR/logs/troupe.log (rotated), one line an entry: time, level, message, key=value pairs.
/// Control characters in values are escaped. Entries of level info and above can also be observed (events of type logging).
/// Call once in main before any thread starts; `log()` is then valid everywhere and thread-safe.
void open_log(const std::string& file, bool debug);
spdlog::logger& log();
/// Called for every entry >= info with (level, message); must not block.
void observe_log(std::function<void(int level, std::string_view message)> observer);

} // namespace troupe
