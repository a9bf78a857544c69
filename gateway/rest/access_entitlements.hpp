#pragma once

#include "gateway/rest/request.hpp"

namespace troupe {

/// Does the request ask, by `with-access-entitlements=can_edit,...`, what the caller may do with each thing it reads?
bool asks_for_entitlements(const rest_request& from);

/// The answer's metadata, with `access_entitlements` of each thing that has some. invalid: not of a list of URLs, only
/// of entitlements that there are, and only to who has his rights from groups: the others need not ask.
outcome<std::string> with_entitlements(const rest_request& from, std::string_view metadata);

} // namespace troupe
