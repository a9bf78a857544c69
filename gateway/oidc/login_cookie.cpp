#include "gateway/oidc/login_cookie.hpp"

#include "gateway/oidc/jwt.hpp"
#include "runtime/uuid.hpp"

#include <charconv>
#include <openssl/crypto.h>
#include <openssl/hmac.h>

namespace troupe {
namespace {

constexpr size_t random_bytes = 32;

const unsigned char* bytes(std::string_view of) { return reinterpret_cast<const unsigned char*>(of.data()); }

std::string text(const unsigned char* of, unsigned size) { return {reinterpret_cast<const char*>(of), size}; }

} // namespace

login_cookie::login_cookie() : key_{random_hex(random_bytes)} {}

std::string login_cookie::derive(std::string_view value, std::string_view purpose) const {
  auto input = std::string{purpose} + ' ' + std::string{value};
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), bytes(input), input.size(), out, &size);
  return encode_base64url(text(out, size));
}

std::string login_cookie::make(int64_t now) const {
  auto value = std::to_string(now) + '.' + random_hex(random_bytes);
  return value + '.' + derive(value, "seal");
}

bool login_cookie::is_ours(std::string_view value, int64_t now) const {
  auto last = value.rfind('.');
  int64_t made = 0;
  if (last == value.npos || !same_secret(value.substr(last + 1), derive(value.substr(0, last), "seal"))) return false;
  std::from_chars(value.data(), value.data() + last, made);
  return made <= now && now < made + seconds;
}

std::string challenge_of(const std::string& verifier) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(verifier.data(), verifier.size(), out, &size, EVP_sha256(), nullptr);
  return encode_base64url(text(out, size));
}

bool same_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

} // namespace troupe
