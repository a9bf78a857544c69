#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// A browser that is on its way to the identity provider and back. All that has to be remembered of it is in its own
/// cookie, so that strangers cannot fill our memory: a random value with the time and our seal, from which state, nonce
/// and PKCE verifier are derived with a key that only this process has.
class login_cookie {
public:
  login_cookie();

  std::string make(int64_t now) const;
  /// Made here, in the ten minutes before.
  bool is_ours(std::string_view value, int64_t now) const;
  /// Base64url of 32 bytes, another one for each `purpose`.
  std::string derive(std::string_view value, std::string_view purpose) const;

  static constexpr int64_t seconds = 600;

private:
  std::string key_;
};

/// What the provider is shown of a PKCE verifier (S256).
std::string challenge_of(const std::string& verifier);

/// Without telling by time where they differ.
bool same_secret(std::string_view a, std::string_view b);

} // namespace troupe
