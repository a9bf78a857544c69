#pragma once

#include "messages/error.hpp"

#include <memory>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// One public key of an identity provider.
struct web_key {
  std::string id;        // "kid"
  std::string algorithm; // the only one it is for; empty: any that fits
  std::shared_ptr<EVP_PKEY> key;
};

/// The keys of a JWK set that can check signatures; those of unknown kinds are left out. fault::invalid: it is none.
outcome<std::vector<web_key>> read_key_set(std::string_view json);

/// A signed token (JWS, compact), taken apart and not yet believed.
struct signed_token {
  std::string algorithm, key_id;
  nlohmann::json claims;
  std::string signed_part, signature;
};
inline constexpr size_t token_bytes_max = 16 << 10;

/// fault::forbidden, with the reason, which is for the log and not for who sent it. Tokens that say they are something
/// else than an access or identity token (a logout's, for instance) are refused.
outcome<signed_token> parse_token(std::string_view text);
/// Whether one of the keys has signed it, by one of the algorithms that are allowed: RS, PS, ES and EdDSA. Never
/// "none", and never a shared secret. not_found: none of the keys is the one that it names.
outcome<void> check_signature(const signed_token& token, const std::vector<web_key>& keys);

/// What a token must say to be believed.
struct expected_claims {
  std::string issuer;
  std::string audience;             // must be among those that it is for
  std::vector<std::string> clients; // one of them it was issued to, where it says that
  int64_t now = 0;                  // seconds since the epoch
};
outcome<void> check_claims(const nlohmann::json& claims, const expected_claims& expected);
/// How far clocks may be apart: a token counts for so much longer.
inline constexpr int64_t leeway_seconds = 60;

/// Strict base64url without padding; false: anything else.
bool decode_base64url(std::string_view text, std::string& into);
std::string encode_base64url(std::string_view bytes);

} // namespace troupe
