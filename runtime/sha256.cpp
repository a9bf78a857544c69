#include "runtime/sha256.hpp"

#include <array>
#include <openssl/evp.h>

namespace troupe {

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) (out += digits[digest[i] >> 4]) += digits[digest[i] & 15];
  return out;
}

} // namespace troupe
