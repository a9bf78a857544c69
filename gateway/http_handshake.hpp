#pragma once

#include "gateway/http_server.hpp"

#include <string>

namespace troupe {

/// The Sec-WebSocket-Accept value for a request that asks for a websocket (RFC 6455, 4.2.1); empty if it does not, or
/// not validly.
std::string websocket_accept_key(const http_request& request);

/// The whole 101 reply.
std::string websocket_accept_head(const std::string& accept_key);

} // namespace troupe
