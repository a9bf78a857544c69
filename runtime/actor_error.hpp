#pragma once

#include "messages/error.hpp"

#include <caf/error.hpp>

namespace troupe {

/// Our error as the one CAF carries in answers (category "troupe"), and back. An error of CAF's own becomes timed_out
/// (request timeout), cancelled (the actor ended or is gone) or internal.
caf::error to_caf(const error& from);
error from_caf(const caf::error& from);

} // namespace troupe
