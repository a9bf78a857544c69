#include "gateway/oidc/jwt.hpp"

#include <algorithm>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

namespace troupe {
namespace {

using json = nlohmann::json;

template <class T, void (*Free)(T*)>
struct freed {
  void operator()(T* it) const { Free(it); }
};
using big_number = std::unique_ptr<BIGNUM, freed<BIGNUM, BN_free>>;
using param_builder = std::unique_ptr<OSSL_PARAM_BLD, freed<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>>;
using param_list = std::unique_ptr<OSSL_PARAM, freed<OSSL_PARAM, OSSL_PARAM_free>>;
using key_context = std::unique_ptr<EVP_PKEY_CTX, freed<EVP_PKEY_CTX, EVP_PKEY_CTX_free>>;
using digest_context = std::unique_ptr<EVP_MD_CTX, freed<EVP_MD_CTX, EVP_MD_CTX_free>>;
using key_ptr = std::shared_ptr<EVP_PKEY>;

enum class scheme : uint8_t { rsa, rsa_pss, ecdsa, eddsa };

/// The algorithms that are allowed; what is not here is refused.
struct algorithm_row {
  std::string_view name;
  scheme how;
  const char* digest;     // null: the scheme has its own
  std::string_view curve; // as JWK calls it
  size_t half;            // bytes of each half of an ECDSA signature
};
constexpr algorithm_row algorithms[] = {
    {"RS256", scheme::rsa, "SHA256", "", 0},         {"RS384", scheme::rsa, "SHA384", "", 0},
    {"RS512", scheme::rsa, "SHA512", "", 0},         {"PS256", scheme::rsa_pss, "SHA256", "", 0},
    {"PS384", scheme::rsa_pss, "SHA384", "", 0},     {"PS512", scheme::rsa_pss, "SHA512", "", 0},
    {"ES256", scheme::ecdsa, "SHA256", "P-256", 32}, {"ES384", scheme::ecdsa, "SHA384", "P-384", 48},
    {"ES512", scheme::ecdsa, "SHA512", "P-521", 66}, {"EdDSA", scheme::eddsa, nullptr, "Ed25519", 0},
};
constexpr std::string_view token_types[] = {"", "jwt", "at+jwt", "application/at+jwt"}; // in lower case
constexpr int rsa_bits_min = 2048;
constexpr size_t keys_max = 64, depth_max = 16, keys_tried_max = 4;

const algorithm_row* find_algorithm(std::string_view name) {
  auto at = std::find_if(std::begin(algorithms), std::end(algorithms), [&](auto& row) { return row.name == name; });
  return at == std::end(algorithms) ? nullptr : at;
}

tl::unexpected<error> refuse(std::string why) { return fail(fault::forbidden, std::move(why)); }

std::string text_of(const json& object, const char* name) {
  auto at = object.find(name);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string{};
}

/// An object, not too deep; anything else is null.
json read_object(std::string_view text) {
  bool too_deep = false;
  auto callback = [&](int depth, json::parse_event_t, json&) {
    return !(too_deep |= depth > static_cast<int>(depth_max));
  };
  auto out = json::parse(text, callback, false);
  return out.is_object() && !too_deep ? out : json{};
}

std::string bytes_of(const json& key, const char* name) {
  std::string out;
  return decode_base64url(text_of(key, name), out) ? out : std::string{};
}

const unsigned char* bytes(const std::string& from) { return reinterpret_cast<const unsigned char*>(from.data()); }

big_number number_of(const std::string& from) {
  return big_number{BN_bin2bn(bytes(from), static_cast<int>(from.size()), nullptr)};
}

key_ptr make_key(const char* type, OSSL_PARAM_BLD* built) {
  param_list params{OSSL_PARAM_BLD_to_param(built)};
  key_context context{EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr)};
  EVP_PKEY* made = nullptr;
  if (!params || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_PUBLIC_KEY, params.get()) != 1)
    return nullptr;
  return {made, EVP_PKEY_free};
}

key_ptr rsa_key(const json& from) {
  auto modulus = number_of(bytes_of(from, "n")), exponent = number_of(bytes_of(from, "e"));
  param_builder build{OSSL_PARAM_BLD_new()};
  if (!build || OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get()) != 1)
    return nullptr;
  auto key = make_key("RSA", build.get());
  return key && EVP_PKEY_get_bits(key.get()) >= rsa_bits_min ? key : nullptr;
}

key_ptr curve_key(const json& from) {
  auto curve = text_of(from, "crv");
  auto row = std::find_if(std::begin(algorithms), std::end(algorithms),
                          [&](auto& each) { return each.how == scheme::ecdsa && each.curve == curve; });
  if (row == std::end(algorithms)) return nullptr;
  auto x = bytes_of(from, "x"), y = bytes_of(from, "y");
  if (x.size() != row->half || y.size() != row->half) return nullptr;
  auto point = '\x04' + x + y; // uncompressed
  param_builder build{OSSL_PARAM_BLD_new()};
  if (!build || OSSL_PARAM_BLD_push_utf8_string(build.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve.c_str(), 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(build.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) != 1)
    return nullptr;
  return make_key("EC", build.get()); // refuses points that are not on the curve
}

key_ptr edwards_key(const json& from) {
  auto x = bytes_of(from, "x");
  if (text_of(from, "crv") != "Ed25519" || x.size() != 32) return nullptr;
  return {EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes(x), x.size()), EVP_PKEY_free};
}

key_ptr key_of(const json& from) {
  auto type = text_of(from, "kty");
  return type == "RSA" ? rsa_key(from) : type == "EC" ? curve_key(from) : type == "OKP" ? edwards_key(from) : nullptr;
}

bool fits(const algorithm_row& row, const web_key& key) {
  if (!key.algorithm.empty() && key.algorithm != row.name) return false;
  auto type = EVP_PKEY_get_base_id(key.key.get());
  if (row.how == scheme::eddsa) return type == EVP_PKEY_ED25519;
  if (row.how != scheme::ecdsa) return type == EVP_PKEY_RSA;
  auto bits = EVP_PKEY_get_bits(key.key.get());
  return type == EVP_PKEY_EC && static_cast<size_t>(bits + 7) / 8 == row.half;
}

/// Both halves, as the token has them, in the form that OpenSSL reads; empty: they are not of that size.
std::string as_der(const std::string& raw, size_t half) {
  if (raw.size() != 2 * half) return {};
  std::unique_ptr<ECDSA_SIG, freed<ECDSA_SIG, ECDSA_SIG_free>> signature{ECDSA_SIG_new()};
  auto r = number_of(raw.substr(0, half)), s = number_of(raw.substr(half));
  if (!signature || ECDSA_SIG_set0(signature.get(), r.release(), s.release()) != 1) return {};
  unsigned char* der = nullptr;
  auto size = i2d_ECDSA_SIG(signature.get(), &der);
  std::string out{reinterpret_cast<char*>(der), static_cast<size_t>(std::max(size, 0))};
  OPENSSL_free(der);
  return out;
}

bool has_signed(const algorithm_row& row, const web_key& key, const signed_token& token) {
  auto signature = row.how == scheme::ecdsa ? as_der(token.signature, row.half) : token.signature;
  digest_context context{EVP_MD_CTX_new()};
  EVP_PKEY_CTX* details = nullptr; // the context's
  if (signature.empty() || !context ||
      EVP_DigestVerifyInit_ex(context.get(), &details, row.digest, nullptr, nullptr, key.key.get(), nullptr) != 1)
    return false;
  if (row.how == scheme::rsa_pss && (EVP_PKEY_CTX_set_rsa_padding(details, RSA_PKCS1_PSS_PADDING) != 1 ||
                                     EVP_PKEY_CTX_set_rsa_pss_saltlen(details, RSA_PSS_SALTLEN_DIGEST) != 1))
    return false;
  return EVP_DigestVerify(context.get(), bytes(signature), signature.size(), bytes(token.signed_part),
                          token.signed_part.size()) == 1;
}

/// Whole or not; nothing: it is no number.
std::optional<double> time_in(const json& claims, const char* name) {
  auto at = claims.find(name);
  if (at == claims.end() || !at->is_number()) return std::nullopt;
  return at->get<double>();
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c | 32 : c; });
  return text;
}

bool contains(const auto& list, std::string_view one) {
  return std::find(std::begin(list), std::end(list), one) != std::end(list);
}

bool names(const json& audience, const std::string& wanted) {
  if (audience.is_string()) return audience.get_ref<const std::string&>() == wanted;
  return audience.is_array() &&
         std::any_of(audience.begin(), audience.end(), [&](auto& one) { return one.is_string() && one == wanted; });
}

} // namespace

bool decode_base64url(std::string_view text, std::string& into) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  into.clear();
  if (text.size() % 4 == 1) return false;
  uint32_t held = 0;
  int bits = 0;
  for (char c : text) {
    auto value = digits.find(c);
    if (value == digits.npos) return false;
    held = (held << 6 | static_cast<uint32_t>(value)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    into += static_cast<char>(held >> bits & 0xff);
  }
  return (held & ((1u << bits) - 1)) == 0; // one text for one value
}

std::string encode_base64url(std::string_view bytes_in) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  uint32_t held = 0;
  int bits = 0;
  for (unsigned char c : bytes_in) {
    held = (held << 8 | c) & 0xffff;
    for (bits += 8; bits >= 6;) out += digits[held >> (bits -= 6) & 63];
  }
  if (bits > 0) out += digits[held << (6 - bits) & 63];
  return out;
}

outcome<std::vector<web_key>> read_key_set(std::string_view text) {
  auto set = read_object(text);
  auto keys = set.is_object() ? set.find("keys") : set.end();
  if (!set.is_object() || keys == set.end() || !keys->is_array()) return fail(fault::invalid, "This is no set of keys");
  std::vector<web_key> out;
  for (auto& one : *keys) {
    if (!one.is_object() || text_of(one, "use") == "enc" || out.size() >= keys_max) continue;
    if (auto key = key_of(one)) out.push_back({text_of(one, "kid"), text_of(one, "alg"), std::move(key)});
  }
  return out;
}

outcome<signed_token> parse_token(std::string_view text) {
  if (text.size() > token_bytes_max) return refuse("The token is too long");
  auto first = text.find('.'), last = text.rfind('.');
  if (first == text.npos || first == last || text.find('.', first + 1) != last)
    return refuse("This is no signed token");
  signed_token out;
  std::string head, body;
  if (!decode_base64url(text.substr(0, first), head) ||
      !decode_base64url(text.substr(first + 1, last - first - 1), body) ||
      !decode_base64url(text.substr(last + 1), out.signature))
    return refuse("The token is not base64url");
  auto header = read_object(head);
  out.claims = read_object(body);
  if (header.is_null() || out.claims.is_null()) return refuse("The token is not JSON");
  if (header.contains("crit")) return refuse("The token wants something that is not understood");
  out.algorithm = text_of(header, "alg");
  out.key_id = text_of(header, "kid");
  out.signed_part = text.substr(0, last);
  if (!find_algorithm(out.algorithm)) return refuse("The token's algorithm is not allowed");
  if (!contains(token_types, lower(text_of(header, "typ")))) return refuse("The token is of another kind");
  return out;
}

outcome<void> check_signature(const signed_token& token, const std::vector<web_key>& keys) {
  auto* row = find_algorithm(token.algorithm);
  if (!row) return refuse("The token's algorithm is not allowed");
  size_t tried = 0;
  bool found = false;
  for (auto& key : keys) {
    if (!token.key_id.empty() && key.id != token.key_id) continue;
    found = true;
    if (!fits(*row, key) || ++tried > keys_tried_max) continue;
    if (has_signed(*row, key, token)) return {};
  }
  if (!found) return fail(fault::not_found, "The token's key is not known");
  return refuse("The token's signature is wrong");
}

outcome<void> check_claims(const json& claims, const expected_claims& expected) {
  auto now = static_cast<double>(expected.now);
  auto ends = time_in(claims, "exp");
  auto begins = claims.contains("nbf") ? time_in(claims, "nbf") : std::optional{now};
  auto made = claims.contains("iat") ? time_in(claims, "iat") : std::optional{now};
  if (!ends || !begins || !made) return refuse("The token does not say for how long it is good");
  if (now >= *ends + leeway_seconds) return refuse("The token has expired");
  if (now + leeway_seconds < *begins || now + leeway_seconds < *made) return refuse("The token is not good yet");
  if (text_of(claims, "iss") != expected.issuer) return refuse("The token is another issuer's");
  if (text_of(claims, "sub").empty()) return refuse("The token says nothing of who it is about");
  auto audience = claims.find("aud");
  if (audience == claims.end() || !names(*audience, expected.audience))
    return refuse("The token is for another audience");
  for (auto* name : {"azp", "client_id"})
    if (claims.contains(name) && !contains(expected.clients, text_of(claims, name)))
      return refuse("The token was issued to another client");
  return {};
}

} // namespace troupe
