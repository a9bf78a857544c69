#include "cli/sha256.hpp"

#include <cerrno>
#include <memory>
#include <openssl/evp.h>
#include <unistd.h>
#include <vector>

namespace troupe {

outcome<std::string> sha256_of_files(std::span<const int> fds) {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash{EVP_MD_CTX_new(), EVP_MD_CTX_free};
  if (!hash || EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) != 1)
    return fail(fault::internal, "SHA-256 is not available");
  std::vector<char> buffer(256 << 10);
  for (int fd : fds) {
    ssize_t got;
    for (off_t at = 0; (got = ::pread(fd, buffer.data(), buffer.size(), at)) != 0; at += got) {
      if (got < 0) return fail_errno(errno, "Cannot read the image");
      EVP_DigestUpdate(hash.get(), buffer.data(), static_cast<size_t>(got));
    }
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(hash.get(), digest, &length);
  std::string out;
  for (unsigned i = 0; i < length; ++i) {
    static constexpr char hex[] = "0123456789abcdef";
    out += hex[digest[i] >> 4];
    out += hex[digest[i] & 15];
  }
  return out;
}

} // namespace troupe
