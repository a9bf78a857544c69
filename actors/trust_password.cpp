#include "actors/trust_password.hpp"

#include <argon2.h>
#include <array>
#include <sys/random.h>

namespace troupe {
namespace {

// OWASP's least for Argon2id.
constexpr uint32_t passes = 2, memory_kib = 19 << 10, lanes = 1;
constexpr size_t salt_bytes = 16, hash_bytes = 32, text_bytes = 256;
constexpr char nobodys[] = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$"
                           "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

} // namespace

outcome<std::string> hash_password(std::string_view password) {
  std::array<unsigned char, salt_bytes> salt;
  if (getrandom(salt.data(), salt.size(), 0) != static_cast<ssize_t>(salt.size()))
    return fail_errno(errno, "Cannot get random bytes");
  std::array<char, text_bytes> text{};
  auto failed = argon2id_hash_encoded(passes, memory_kib, lanes, password.data(), password.size(), salt.data(),
                                      salt.size(), hash_bytes, text.data(), text.size());
  if (failed != ARGON2_OK)
    return fail(fault::internal, std::string{"The password cannot be hashed: "} + argon2_error_message(failed));
  return std::string{text.data()};
}

bool password_matches(std::string_view password, const std::string& hash) {
  bool same = argon2id_verify(hash.empty() ? nobodys : hash.c_str(), password.data(), password.size()) == ARGON2_OK;
  return same && !hash.empty();
}

} // namespace troupe
