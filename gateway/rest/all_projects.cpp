#include "gateway/rest/all_projects.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr std::string_view lists[] = {"/1.0/images", "/1.0/instances", "/1.0/networks", "/1.0/operations",
                                      "/1.0/profiles"};

} // namespace

bool is_of_all_projects(const http_request& request, const route& row) {
  return row.method == "GET" && is_true(request.parameter("all-projects")) &&
         std::find(std::begin(lists), std::end(lists), row.pattern) != std::end(lists);
}

keyed_name split_key(std::string_view key) {
  auto slash = std::min(key.find('/'), key.size());
  return {std::string{key.substr(0, slash)}, std::string{key.substr(std::min(slash + 1, key.size()))}};
}

std::string with_project(const keyed_name& thing) {
  return thing.project == "default" ? thing.name : thing.name + "?project=" + thing.project;
}

} // namespace troupe
