#pragma once

#include <string>

namespace troupe {

/// docs/container-keys.md, from the tables of config keys and device options: what works, and why the rest is refused.
/// A test keeps the file equal to this.
std::string container_key_reference();

} // namespace troupe
