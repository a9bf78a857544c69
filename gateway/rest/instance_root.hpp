#pragma once

#include "actors/instance.hpp"
#include "gateway/rest/request.hpp"

#include <functional>

namespace troupe {

/// Where the files of the request's instance are right now, then `work` on a blocking thread; else the error is the
/// answer.
void with_root(const rest_request& from, std::function<void(const located_root& root)> work);

} // namespace troupe
