#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace troupe {

/// Block-style YAML of a JSON value, as LXD's tools print it; ends in a newline.
std::string to_yaml(const nlohmann::json& value);

/// A table with borders, like the stock client's. Every row has as many cells as `head`.
std::string to_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows);

} // namespace troupe
