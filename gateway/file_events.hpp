#pragma once

#include "actors/services.hpp"
#include "messages/envelope.hpp"

namespace troupe {

/// Reading and writing an instance's files changes no record; that it was done is told all the same. `action`:
/// "instance-file-pushed", ...
void tell_file_event(const services& with, const header& head, const std::string& instance, std::string_view action,
                     const std::string& path);

} // namespace troupe
