#pragma once

#include "actors/identities.hpp"
#include "messages/envelope.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace troupe {

// What REST and the bus tell alike about groups and permissions.

/// Who is in a group, of those that the caller may see.
struct group_members {
  std::vector<std::string> identities; // METHOD/ID
  std::vector<std::string> mappings;   // groups of an identity provider
};
group_members members_of_group(const principal& who, const snapshot& records, std::string_view group);

/// Which groups give each permission.
std::map<permission, std::vector<std::string>> givers(const snapshot& records);

/// What can be given on all that is there and the caller may see; empty: of all types, and projects. Always in the same
/// order.
void each_permission(const principal& who, const snapshot& records, std::string_view type, std::string_view project,
                     const std::function<void(const permission&)>& visit);

message<schema::Permission> record_of(const permission& one);

} // namespace troupe
