#pragma once

#include "gateway/http_server.hpp"
#include "gateway/tls_identity.hpp"
#include "runtime/loop.hpp"

#include <future>

namespace troupe {

class http_context;

/// An operation of another server, as its client names it to us.
struct remote_operation {
  std::string host, port;  // a name or an address
  std::string path;        // /1.0/operations/ID
  std::string certificate; // DER: who does not show exactly this one is not the server that was meant
};
/// `url` is https://HOST[:PORT]/1.0/operations/ID and nothing more; `pem` the certificate. fault::invalid.
outcome<remote_operation> read_remote(std::string_view url, std::string_view pem);

/// Connects to the websockets of other servers' operations: TLS 1.3, their certificate pinned, no redirect followed.
class websocket_dialer {
public:
  explicit websocket_dialer(loop& on);
  ~websocket_dialer(); // ends all connections; off the loop's thread

  /// Blocks for 10 seconds at most. What went wrong is told in one sentence whatever it was: who makes us connect shall
  /// not learn what else listens in our network.
  outcome<std::shared_ptr<websocket>> dial(const remote_operation& where, const std::string& secret);

private:
  loop& on_;
  std::shared_ptr<http_context> context_;
  std::shared_ptr<const tls_identity> client_;
  std::promise<void> all_closed_;
};

} // namespace troupe
