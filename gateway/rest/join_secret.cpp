#include "gateway/rest/join_secret.hpp"

#include <nlohmann/json.hpp>
#include <openssl/evp.h>

namespace troupe {

std::string join_secret(std::string given) {
  std::string decoded(given.size() / 4 * 3 + 3, '\0');
  auto size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                              reinterpret_cast<const unsigned char*>(given.data()), static_cast<int>(given.size()));
  if (size < 0) return given;
  decoded.resize(decoded.find_last_of('}') + 1); // behind it is what the padding decodes to
  auto token = nlohmann::json::parse(decoded, nullptr, false);
  auto secret = token.is_object() ? token.find("secret") : token.end();
  return secret != token.end() && secret->is_string() ? secret->get<std::string>() : given;
}

} // namespace troupe
