#pragma once

#include "messages/error.hpp"

#include <string>

namespace troupe {

/// The text as the user wants it: from stdin if that is no terminal, else changed in his editor (VISUAL, EDITOR, vi).
outcome<std::string> edit_text(const std::string& text);

} // namespace troupe
