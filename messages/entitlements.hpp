#pragma once

#include <span>
#include <string_view>

namespace troupe {

/// A kind of thing that rights can be given on.
struct entity_type_row {
  std::string_view type;
  std::string_view path;   // of its URL; "*" is one part of its name, "**" the rest of the path
  bool in_project = false; // its URL has ?project=
  std::string_view title;  // for a person: "Instance not found"
};
std::span<const entity_type_row> entity_types();
const entity_type_row* find_entity_type(std::string_view type);

/// A right on one kind of thing. Who holds one of `same` on the thing, or one of `above` on what the thing is in (a
/// project, or the server), has it too; so has who holds `admin` on the server.
struct entitlement_row {
  std::string_view type, name;
  std::string_view same, above; // words
  std::string_view meaning;
};
std::span<const entitlement_row> entitlements();
const entitlement_row* find_entitlement(std::string_view type, std::string_view name);

} // namespace troupe
