#pragma once

#include "gateway/bus/ask.hpp"

#include <functional>

namespace troupe::on_bus {

/// Runs `then` if the operation that the handle names is there for the caller (and, `to_cancel`, his to cancel); else
/// throws: not_found for what he may not see, forbidden.
kj::Promise<void> if_visible(const call_ptr& c, std::function<kj::Promise<void>()> then, bool to_cancel = false);

} // namespace troupe::on_bus
