#pragma once

#include "actors/lifecycle_event.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// Something that concerns who may come in: type `security`, subject "_.security.WHO.NAME". `name` is one of the names
/// in docs/security.md; refusals have level warning.
message<schema::Event> security_event(const header& head, std::string_view name, schema::Event::Level level,
                                      const std::string& description, const config_map& context = {});

} // namespace troupe
