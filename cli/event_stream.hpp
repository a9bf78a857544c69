#pragma once

#include "messages/error.hpp"

#include <functional>
#include <string>

namespace troupe {

class http_client;

/// Opens the websocket `target` and hands every text message to `take` until the server closes (then an error) or
/// `take` returns false. Blocks.
outcome<void> read_messages(const http_client& http, const std::string& target,
                            std::function<bool(const std::string&)> take);

} // namespace troupe
