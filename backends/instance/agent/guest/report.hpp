#pragma once

#include "messages/agent.capnp.h"

namespace troupe::guest {

/// What the kernel says about this machine; what it does not say stays empty.
void fill_report(Report::Builder out);

} // namespace troupe::guest
