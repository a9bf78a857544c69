#pragma once

#include "backends/instance/frame.hpp"
#include "messages/error.hpp"
#include "messages/helper.capnp.h"

namespace troupe::files {

using answer = message<schema::HelperAnswer>;
answer error_answer(const error& why);
answer done_answer();

} // namespace troupe::files
