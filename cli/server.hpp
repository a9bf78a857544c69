#pragma once

#include "cli/http_client.hpp"

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace troupe {

/// LXD's REST conventions over the http_client: envelopes, errors, operations. One thread at a time.
class server {
public:
  /// `dir`: the daemon's state folder. `stop` may be null and must outlive the server.
  explicit server(const std::string& dir, const interrupt* stop = nullptr) : http_{dir + "/unix.socket", stop} {}

  const http_client& http() const noexcept { return http_; }

  /// The whole envelope. An error envelope becomes an error with the server's own sentence.
  outcome<nlohmann::json> request(const http_call& call) const;
  /// The metadata of a GET.
  outcome<nlohmann::json> get(const std::string& target) const;
  /// Sends `body` (null: none) and returns the metadata; waits for the operation when one was started, and fails if it
  /// fails.
  outcome<nlohmann::json> change(const std::string& method, const std::string& target,
                                 const nlohmann::json& body) const;
  /// Waits for the end of the operation that `envelope` names; its final object. Failed operations are errors.
  outcome<nlohmann::json> finish(const nlohmann::json& envelope) const;

private:
  http_client http_;
};

/// An error the server answered, with the meaning its HTTP status has.
fault fault_of_status(int status) noexcept;

} // namespace troupe
