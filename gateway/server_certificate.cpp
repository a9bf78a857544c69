#include "gateway/server_certificate.hpp"

#include "messages/unique_fd.hpp"
#include "runtime/listen_address.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <memory>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr long valid_seconds = 10L * 365 * 24 * 3600;

struct freed {
  void operator()(X509* x) const { X509_free(x); }
  void operator()(EVP_PKEY* k) const { EVP_PKEY_free(k); }
  void operator()(BIO* b) const { BIO_free(b); }
  void operator()(X509_EXTENSION* e) const { X509_EXTENSION_free(e); }
};
using x509_ptr = std::unique_ptr<X509, freed>;
using key_ptr = std::unique_ptr<EVP_PKEY, freed>;
using bio_ptr = std::unique_ptr<BIO, freed>;

// A DNS name comes first: LXD's clients take the first one as the server's name and refuse a certificate without.
std::string names_of(const std::string& host_name) {
  auto out = "DNS:" + (host_name.empty() ? "localhost" : host_name) + ",IP:127.0.0.1,IP:::1";
  for (auto& address : host_addresses()) out += ",IP:" + address;
  return out;
}

bool add_extension(X509* to, int kind, const std::string& value) {
  std::unique_ptr<X509_EXTENSION, freed> made{X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str())};
  return made && X509_add_ext(to, made.get(), -1) == 1;
}

bool set_serial(X509* of) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] &= 0x7f;
  std::unique_ptr<BIGNUM, decltype(&BN_free)> number{BN_bin2bn(bytes, sizeof bytes, nullptr), BN_free};
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(of)) != nullptr;
}

bool set_name(X509* of, const std::string& host_name) {
  auto* name = X509_get_subject_name(of);
  auto add = [&](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  return add("O", "Troupe") && add("CN", ("root@" + host_name).substr(0, 64)) && X509_set_issuer_name(of, name) == 1;
}

x509_ptr make_certificate(EVP_PKEY* key, const std::string& host_name) {
  x509_ptr made{X509_new()};
  auto* x = made.get();
  bool good = x && X509_set_version(x, 2) == 1 && set_serial(x) && set_name(x, host_name) &&
              X509_gmtime_adj(X509_getm_notBefore(x), 0) && X509_gmtime_adj(X509_getm_notAfter(x), valid_seconds) &&
              X509_set_pubkey(x, key) == 1 && add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
              add_extension(x, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
              add_extension(x, NID_ext_key_usage, "serverAuth") &&
              add_extension(x, NID_subject_alt_name, names_of(host_name)) && X509_sign(x, key, EVP_sha384()) > 0;
  return good ? std::move(made) : nullptr;
}

std::string content_of(BIO* from) {
  char* text = nullptr;
  auto size = BIO_get_mem_data(from, &text);
  return {text, static_cast<size_t>(size > 0 ? size : 0)};
}

outcome<key_pair> make_pair(const std::string& host_name) {
  key_ptr key{EVP_EC_gen("P-384")};
  auto made = key ? make_certificate(key.get(), host_name) : nullptr;
  bio_ptr certificate_text{BIO_new(BIO_s_mem())}, key_text{BIO_new(BIO_s_mem())};
  bool good = made && PEM_write_bio_X509(certificate_text.get(), made.get()) == 1 &&
              PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1;
  ERR_clear_error();
  if (!good) return fail(fault::internal, "The server's certificate could not be made");
  return key_pair{content_of(certificate_text.get()), content_of(key_text.get())};
}

/// Whole or not at all, and never readable for others in between.
outcome<void> write_file(const std::string& path, const std::string& text, mode_t mode) {
  auto fresh = path + ".new";
  unlink(fresh.c_str());
  unique_fd file{open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)};
  if (!file) return fail_errno(errno, "Cannot make " + fresh);
  fchmod(file.get(), mode); // whatever the umask is
  bool written = ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                 fsync(file.get()) == 0 && rename(fresh.c_str(), path.c_str()) == 0;
  if (written) return {};
  return fail_errno(errno, "Cannot write " + path);
}

bool is_there(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::string read_file(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

outcome<key_pair> load_or_make_server_certificate(const std::string& folder, const std::string& host_name) {
  auto certificate = folder + "/server.crt", key = folder + "/server.key";
  bool have_certificate = is_there(certificate), have_key = is_there(key);
  if (have_certificate && have_key) return key_pair{read_file(certificate), read_file(key)};
  if (have_certificate)
    return fail(fault::wrong_state, certificate + " is there without its key: put the key back, or remove both");
  auto made = make_pair(host_name); // a key alone is what a crash of the lines below leaves
  if (!made) return made;
  if (auto done = write_file(key, made->key, 0600); !done) return tl::unexpected{done.error()};
  if (auto done = write_file(certificate, made->certificate, 0644); !done) return tl::unexpected{done.error()};
  return made;
}

} // namespace troupe
