#include "gateway/certificate_authority.hpp"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <optional>
#include <unistd.h>

namespace troupe {
namespace {

using bio_ptr = std::unique_ptr<BIO, decltype(&BIO_free)>;

bio_ptr reader(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free};
}

/// Nothing: there is no such file. Empty: it cannot be read.
std::optional<std::string> content_of(const std::string& path) {
  if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) return std::nullopt;
  std::ifstream in{path, std::ios::binary};
  return std::string{std::istreambuf_iterator<char>{in}, {}};
}

size_t add_authorities(X509_STORE* store, const std::string& text) {
  auto in = reader(text);
  size_t count = 0;
  while (auto* one = PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)) {
    count += X509_STORE_add_cert(store, one) == 1;
    X509_free(one);
  }
  return count;
}

size_t add_revocations(X509_STORE* store, const std::string& text) {
  auto in = reader(text);
  size_t count = 0;
  while (auto* one = PEM_read_bio_X509_CRL(in.get(), nullptr, nullptr, nullptr)) {
    count += X509_STORE_add_crl(store, one) == 1;
    X509_CRL_free(one);
  }
  return count;
}

} // namespace

outcome<std::shared_ptr<const certificate_authority>> certificate_authority::load(const std::string& folder) {
  auto authorities = content_of(folder + "/server.ca"), revoked = content_of(folder + "/ca.crl");
  if (!authorities) return std::shared_ptr<const certificate_authority>{};
  std::shared_ptr<certificate_authority> made{new certificate_authority};
  made->store_ = X509_STORE_new();
  bool good = add_authorities(made->store_, *authorities) > 0;
  if (good && revoked) {
    good = add_revocations(made->store_, *revoked) > 0;
    X509_STORE_set_flags(made->store_, X509_V_FLAG_CRL_CHECK);
  }
  ERR_clear_error();
  if (!good) return fail(fault::invalid, "The authority in server.ca or the list in ca.crl cannot be read");
  made->texts_ = *authorities + '\0' + revoked.value_or("");
  return made;
}

certificate_authority::~certificate_authority() { X509_STORE_free(store_); }

bool certificate_authority::vouches_for(const certificate& shown) const {
  auto* at = reinterpret_cast<const unsigned char*>(shown.der.data());
  std::unique_ptr<X509, decltype(&X509_free)> leaf{d2i_X509(nullptr, &at, static_cast<long>(shown.der.size())),
                                                   X509_free};
  std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> look{X509_STORE_CTX_new(), X509_STORE_CTX_free};
  if (!leaf || !look || X509_STORE_CTX_init(look.get(), store_, leaf.get(), nullptr) != 1) return false;
  X509_STORE_CTX_set_purpose(look.get(), X509_PURPOSE_SSL_CLIENT);
  bool good = X509_verify_cert(look.get()) == 1;
  ERR_clear_error();
  return good;
}

} // namespace troupe
