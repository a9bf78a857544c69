#include "runtime/certificate.hpp"

#include "runtime/sha256.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <memory>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace troupe {
namespace {

template <auto Free>
struct freed_by {
  template <class T>
  void operator()(T* what) const {
    Free(what);
  }
};
using x509_ptr = std::unique_ptr<X509, freed_by<X509_free>>;
using bio_ptr = std::unique_ptr<BIO, freed_by<BIO_free>>;
using names_ptr = std::unique_ptr<GENERAL_NAMES, freed_by<GENERAL_NAMES_free>>;

constexpr std::string_view pem_begin = "-----BEGIN";
constexpr size_t bytes_max = 64 << 10;
constexpr int rsa_bits_min = 2048, curve_bits_min = 224;

x509_ptr read(std::string_view bytes) {
  if (bytes.find(pem_begin) != bytes.npos) {
    bio_ptr in{BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size()))};
    return x509_ptr{PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)};
  }
  auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
  x509_ptr out{d2i_X509(nullptr, &at, static_cast<long>(bytes.size()))};
  bool all_used = at == reinterpret_cast<const unsigned char*>(bytes.data()) + bytes.size();
  return all_used ? std::move(out) : nullptr; // with a tail the same certificate would have many fingerprints
}

std::string der_of(X509* from) {
  std::string out(static_cast<size_t>(std::max(i2d_X509(from, nullptr), 0)), '\0');
  auto* at = reinterpret_cast<unsigned char*>(out.data());
  i2d_X509(from, &at);
  return out;
}

int64_t seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

std::string common_name_of(X509* from) {
  std::array<char, 256> text{};
  auto size = X509_NAME_get_text_by_NID(X509_get_subject_name(from), NID_commonName, text.data(), text.size());
  return size > 0 ? std::string{text.data()} : std::string{};
}

std::vector<std::string> dns_names_of(X509* from) {
  names_ptr names{static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(from, NID_subject_alt_name, nullptr, nullptr))};
  std::vector<std::string> out;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    auto* one = sk_GENERAL_NAME_value(names.get(), i);
    if (one->type != GEN_DNS) continue;
    auto* text = reinterpret_cast<const char*>(ASN1_STRING_get0_data(one->d.dNSName));
    out.emplace_back(text, static_cast<size_t>(ASN1_STRING_length(one->d.dNSName)));
  }
  return out;
}

// Absent extensions (UINT32_MAX) restrict nothing.
bool is_for_clients(X509* from) {
  if (X509_get_extension_flags(from) & EXFLAG_INVALID) return false;
  auto extended = X509_get_extended_key_usage(from);
  return (X509_get_key_usage(from) & KU_DIGITAL_SIGNATURE) &&
         (extended == UINT32_MAX || (extended & (XKU_SSL_CLIENT | XKU_ANYEKU)));
}

bool is_strong(X509* from) {
  auto* key = X509_get0_pubkey(from);
  if (!key) return false;
  return EVP_PKEY_bits(key) >= (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ? rsa_bits_min : curve_bits_min);
}

outcome<std::string> from_base64(std::string_view text) {
  std::string packed;
  for (char c : text)
    if (!std::isspace(static_cast<unsigned char>(c))) packed += c;
  std::string out(packed.size() / 4 * 3 + 3, '\0');
  auto size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                              reinterpret_cast<const unsigned char*>(packed.data()), static_cast<int>(packed.size()));
  if (size < 0) return fail(fault::invalid, "The certificate is not base64");
  auto padding = std::count(packed.end() - std::min<std::ptrdiff_t>(2, std::ssize(packed)), packed.end(), '=');
  out.resize(static_cast<size_t>(size) - static_cast<size_t>(padding));
  return out;
}

} // namespace

outcome<certificate> parse_certificate(std::string_view bytes) {
  if (bytes.size() > bytes_max) return fail(fault::invalid, "The certificate is too large");
  auto x509 = read(bytes);
  if (!x509) return fail(fault::invalid, "The certificate cannot be parsed");
  certificate out;
  out.der = der_of(x509.get());
  out.fingerprint = sha256_hex(out.der);
  out.common_name = common_name_of(x509.get());
  out.dns_names = dns_names_of(x509.get());
  out.valid_from = seconds_of(X509_get0_notBefore(x509.get()));
  out.valid_until = seconds_of(X509_get0_notAfter(x509.get()));
  out.for_clients = is_for_clients(x509.get());
  out.strong = is_strong(x509.get());
  return out;
}

outcome<certificate> decode_certificate(std::string_view text) {
  if (text.find(pem_begin) != text.npos) return parse_certificate(text);
  if (text.size() > bytes_max) return fail(fault::invalid, "The certificate is too large");
  auto der = from_base64(text);
  if (!der) return tl::unexpected{der.error()};
  return parse_certificate(*der);
}

std::string to_pem(const certificate& from) {
  auto x509 = read(from.der);
  bio_ptr out{BIO_new(BIO_s_mem())};
  if (!x509 || PEM_write_bio_X509(out.get(), x509.get()) != 1) return {};
  char* text = nullptr;
  auto size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<size_t>(size)};
}

outcome<void> judge_client_certificate(const certificate& shown, int64_t now) {
  if (now < shown.valid_from) return fail(fault::forbidden, "The certificate is not valid yet");
  if (now > shown.valid_until) return fail(fault::forbidden, "The certificate has expired");
  if (!shown.for_clients) return fail(fault::forbidden, "The certificate is not made for TLS clients");
  if (!shown.strong) return fail(fault::forbidden, "The certificate's key is too weak");
  return {};
}

} // namespace troupe
