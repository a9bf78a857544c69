#pragma once

#include "messages/error.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// Argon2id with a random salt, in its usual text form. Takes tens of milliseconds and 19 MiB: on a blocking thread.
outcome<std::string> hash_password(std::string_view password);
/// Takes as long when there is no hash (empty), so that nobody learns whether a password is set.
bool password_matches(std::string_view password, const std::string& hash);

} // namespace troupe
