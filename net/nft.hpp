#pragma once

#include "messages/error.hpp"

#include <string>

namespace troupe {

/// One transaction in nft's language: all of it or nothing. libnftables is loaded for it and unloaded again. Not two at
/// a time of one table; who writes tables of his own needs no lock.
outcome<void> run_nft(const std::string& text);

} // namespace troupe
