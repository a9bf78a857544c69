#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace troupe {

/// What a proxy says in front of a connection about the client it speaks for (the PROXY protocol, versions 1 and 2).
struct proxy_header {
  enum kind { complete, more, broken };
  kind state = more;
  size_t size = 0;     // of the header; 0: the connection begins without one, which is fine
  std::string address; // "IP:PORT"; empty: the proxy speaks for itself
};

proxy_header parse_proxy_header(std::string_view bytes);

} // namespace troupe
