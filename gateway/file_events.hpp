#pragma once

#include "actors/services.hpp"
#include "messages/envelope.hpp"

namespace troupe {

/// Reading and writing an instance's files and looking at its logs change no record; that it was done is told all the
/// same. `action`: "instance-file-pushed", ...; `below`: of the instance's URL ("/metadata").
void tell_instance_event(const services& with, const header& head, const std::string& instance, std::string_view action,
                         const std::string& below, const config_map& context);
void tell_file_event(const services& with, const header& head, const std::string& instance, std::string_view action,
                     const std::string& path);

} // namespace troupe
