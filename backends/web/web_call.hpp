#pragma once

#include "backends/cancel_token.hpp"
#include "messages/error.hpp"

#include <string>
#include <vector>

namespace troupe {

/// One request to a web server.
struct web_call {
  std::string method = "GET"; // or POST
  std::string url;
  std::vector<std::string> headers = {}; // "Name: value"
  std::string body = {};                 // of a POST
  std::string user = {}, password = {};  // basic authentication; without a user: none
};
struct web_answer {
  int status = 0;
  std::string body;
};

/// Over HTTPS only, with the server's certificate verified by the host's authorities or those of SSL_CERT_FILE; without
/// proxy or redirects. Blocks for ten seconds at most. backend_failed, timed_out; too_large: more than 1 MB came;
/// cancelled; unsupported: troupe-web.so, which brings libcurl when the first call is made, is missing.
outcome<web_answer> call_web(const web_call& call, const cancel_token& stop);

} // namespace troupe
