#pragma once

#include <string>

namespace troupe {

/// The secret in what a client brings to become trusted: a token is base64 of JSON with the secret in it, and clients
/// send the whole of it; anything else is the secret itself.
std::string join_secret(std::string given);

} // namespace troupe
