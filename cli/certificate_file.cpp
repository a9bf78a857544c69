#include "cli/certificate_file.hpp"

#include <array>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

namespace troupe {
namespace {

std::string date_of(const ASN1_TIME* time) {
  std::tm parts{};
  std::array<char, 16> text{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d", &parts)};
}

} // namespace

std::string to_base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  auto size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                              reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

outcome<certificate_facts> read_certificate(std::string_view pem) {
  std::unique_ptr<BIO, decltype(&BIO_free)> in{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free};
  std::unique_ptr<X509, decltype(&X509_free)> x509{PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr), X509_free};
  if (!x509) return fail(fault::invalid, "This is not a PEM certificate");
  certificate_facts out;
  std::array<char, 256> name{};
  X509_NAME_get_text_by_NID(X509_get_subject_name(x509.get()), NID_commonName, name.data(), name.size());
  out.common_name = name.data();
  out.from = date_of(X509_get0_notBefore(x509.get()));
  out.until = date_of(X509_get0_notAfter(x509.get()));
  std::string der(static_cast<size_t>(i2d_X509(x509.get(), nullptr)), '\0');
  auto* at = reinterpret_cast<unsigned char*>(der.data());
  i2d_X509(x509.get(), &at);
  out.base64 = to_base64(der);
  return out;
}

outcome<certificate_facts> load_certificate(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  std::string text{std::istreambuf_iterator<char>{in}, {}};
  if (!in) return fail(fault::not_found, "Cannot read " + path);
  return read_certificate(text);
}

} // namespace troupe
