#pragma once

#include "gateway/rest/routes.hpp"

namespace troupe {

/// Reads what a client may say about the operation that a request begins, into its header: the Idempotency-Key and
/// plan=true. Calls `then` with the request so completed, perhaps from a blocking thread (an upload has to be read
/// once); or refuses it where the route begins no operation, or several.
void admit(rest_request request, const route& row, std::function<void(const rest_request&)> then);

} // namespace troupe
