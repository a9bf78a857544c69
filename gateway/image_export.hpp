#pragma once

#include "actors/services.hpp"
#include "gateway/http_server.hpp"

namespace troupe {

/// A stored image as it is downloaded: its file, or both its files as a form. Blocks for a moment.
outcome<http_response> image_export(services& with, const std::string& fingerprint, bool split);

} // namespace troupe
