#pragma once

#include "messages/error.hpp"

#include <functional>
#include <string>

namespace troupe {

class http_client;

/// Opens the websocket `target` and hands every text message to `take` until the server closes (then an error) or
/// `take` returns false. Blocks. With `ready`, that is called first, once nothing can be missed any more; if it
/// returns false, nothing is read.
outcome<void> read_messages(const http_client& http, const std::string& target, const std::function<bool()>& ready,
                            std::function<bool(const std::string&)> take);
inline outcome<void> read_messages(const http_client& http, const std::string& target,
                                   std::function<bool(const std::string&)> take) {
  return read_messages(http, target, nullptr, std::move(take));
}

} // namespace troupe
