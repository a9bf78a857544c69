#pragma once

#include <capnp/dynamic.h>

namespace troupe::on_bus {

/// Refuses (throws invalid) text that could not have come through REST: bad UTF-8 and NUL characters, anywhere in the
/// parameters. Touches all of them, so that malformed ones fail here.
void check_texts(capnp::DynamicStruct::Reader params);

/// Copies the fields that may be shown; internal state and secrets stay behind.
void copy_shown(capnp::DynamicStruct::Reader from, capnp::DynamicStruct::Builder into);

} // namespace troupe::on_bus
