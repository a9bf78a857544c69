#pragma once

#include "messages/rights.hpp"
#include "persist/store.hpp"

#include <functional>
#include <optional>

namespace troupe {

// Where the things lie that rights are given on.

bool exists(const snapshot& records, const entity& thing);
/// The name of a volume: "POOL/TYPE/NAME".
struct volume_name {
  std::string_view pool, type, name;
};
volume_name volume_parts(std::string_view name);
/// Every one of a type; false from `visit` ends it.
void each_entity(const snapshot& records, std::string_view type, const std::function<bool(const entity&)>& visit);
/// What such a record is; nothing: no thing that rights are given on.
std::optional<entity> entity_at(table where, std::string_view key);

} // namespace troupe
