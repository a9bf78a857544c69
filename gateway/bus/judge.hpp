#pragma once

#include "gateway/bus/methods.hpp"

namespace troupe::on_bus {

/// May the session's principal call this method of the thing at `at`? By the access of the route that does the same
/// over REST. fault::forbidden, or not_found for a project that is not his.
outcome<void> judge(const method_facts& method, const place& at);

} // namespace troupe::on_bus
