#pragma once

#include "backends/web/web_call.hpp"
#include "gateway/oidc/jwt.hpp"

#include <string>
#include <vector>

namespace troupe {

/// What an identity provider says of itself, and the keys by which it signs.
struct provider_facts {
  std::string authorization_endpoint, token_endpoint, userinfo_endpoint; // https; the last may be empty
  bool secret_in_body = false; // where the token endpoint wants the client's secret, instead of basic authentication
  std::vector<web_key> keys;
};

/// Asks it. backend_failed: it does not answer as a provider does, or says that it is another issuer. Blocks.
outcome<provider_facts> discover(const std::string& issuer, const cancel_token& stop);

/// The JSON object that a 200 answers with. forbidden: the answer is 401 or 403. Blocks.
outcome<nlohmann::json> fetch_object(const web_call& call, const cancel_token& stop);

/// "a=b&c=d", percent-encoded.
std::string form_of(const std::vector<std::pair<std::string, std::string>>& fields);

} // namespace troupe
