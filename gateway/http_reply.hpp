#pragma once

#include "gateway/http_server.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// How a reply goes onto the wire; decided by its request.
struct reply_frame {
  bool head_only = false; // HEAD: no body follows
  bool is_change = false; // neither GET nor HEAD
  bool keep_alive = true;
  bool version_1_0 = false;
  bool chunked = false; // set by reply_head: the length is unknown
};

/// The status line and headers. Headers about framing are ours; control characters in the handler's become spaces.
std::string reply_head(const http_response& response, reply_frame& frame);

/// The LXD error envelope. `sentence` is ours: nothing in it needs escaping.
http_response error_reply(int status, std::string_view sentence);

} // namespace troupe
