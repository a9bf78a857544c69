#pragma once

#include "gateway/rest/routes.hpp"

namespace troupe {

/// A list that is asked for of all projects: it shows of each only what the caller may see there.
bool is_of_all_projects(const http_request& request, const route& row);

/// "PROJECT/NAME" of a record's key.
struct keyed_name {
  std::string project, name;
};
keyed_name split_key(std::string_view key);
/// The end of a thing's URL in such a list.
std::string with_project(const keyed_name& thing);

} // namespace troupe
