#pragma once

#include "gateway/rest/request.hpp"

namespace troupe {

class tls_listeners;

/// What a web page may do that runs in the browser of somebody whom the server trusts. A request with an Origin is
/// refused unless it comes from the server's own pages, by a name that is the server's (else any site could point its
/// name here), or from core.https_allowed_origin. Clients that are no browsers send no Origin. Only over TLS.
outcome<void> judge_origin(const http_request& request, const snapshot& records, const tls_listeners& listeners);

/// The headers with which the browser lets such a page see the answer (CORS).
void allow_origin(const http_request& request, const snapshot& records, const responder& answer);

} // namespace troupe
