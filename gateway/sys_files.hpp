#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace troupe {

// The kernel's small files in /sys and /proc. What is not there is empty, or the fallback.

/// The first line.
std::string line_of(const std::filesystem::path& file);
uint64_t number_of(const std::filesystem::path& file, uint64_t fallback = 0);
/// Without blanks at its ends.
std::string trimmed(std::string text);
/// The last part of where a link leads.
std::string name_of_link(const std::filesystem::path& link);

} // namespace troupe
