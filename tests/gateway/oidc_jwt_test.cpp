#include "gateway/oidc/jwt.hpp"

#include <catch2/catch.hpp>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

using namespace troupe;
using nlohmann::json;

namespace {

std::string number(EVP_PKEY* key, const char* name, size_t size = 0) {
  BIGNUM* value = nullptr;
  REQUIRE(EVP_PKEY_get_bn_param(key, name, &value) == 1);
  std::string out(size ? size : static_cast<size_t>(BN_num_bytes(value)), '\0');
  BN_bn2binpad(value, reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size()));
  BN_free(value);
  return encode_base64url(out);
}

/// A provider's key pair, which signs as an algorithm says.
struct signer {
  std::string algorithm, digest, id;
  std::shared_ptr<EVP_PKEY> key;
  size_t half = 0;

  signer(std::string alg, std::string kid) : algorithm{alg}, id{std::move(kid)} {
    EVP_PKEY* made = nullptr;
    if (alg[0] == 'R' || alg[0] == 'P') made = EVP_RSA_gen(2048);
    if (alg == "ES256") made = EVP_EC_gen("P-256"), half = 32;
    if (alg == "ES384") made = EVP_EC_gen("P-384"), half = 48;
    if (alg == "ES512") made = EVP_EC_gen("P-521"), half = 66;
    if (alg == "EdDSA") made = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    REQUIRE(made);
    key = {made, EVP_PKEY_free};
    if (alg != "EdDSA") digest = "SHA" + alg.substr(2);
  }

  json jwk() const {
    json out{{"kid", id}, {"use", "sig"}};
    if (algorithm[0] == 'R' || algorithm[0] == 'P') {
      out["kty"] = "RSA";
      out["n"] = number(key.get(), "n");
      out["e"] = number(key.get(), "e");
    } else if (half) {
      out["kty"] = "EC";
      out["crv"] = half == 32 ? "P-256" : half == 48 ? "P-384" : "P-521";
      out["x"] = number(key.get(), "qx", half);
      out["y"] = number(key.get(), "qy", half);
    } else {
      std::string raw(32, '\0');
      size_t size = raw.size();
      EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(raw.data()), &size);
      out["kty"] = "OKP";
      out["crv"] = "Ed25519";
      out["x"] = encode_base64url(raw);
    }
    return out;
  }

  std::string raw(const std::string& der) const {
    auto* at = reinterpret_cast<const unsigned char*>(der.data());
    auto* parsed = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size()));
    std::string out(2 * half, '\0');
    auto* into = reinterpret_cast<unsigned char*>(out.data());
    BN_bn2binpad(ECDSA_SIG_get0_r(parsed), into, static_cast<int>(half));
    BN_bn2binpad(ECDSA_SIG_get0_s(parsed), into + half, static_cast<int>(half));
    ECDSA_SIG_free(parsed);
    return out;
  }

  std::string sign(const json& claims, json header = json::object()) const {
    header.emplace("alg", algorithm);
    header.emplace("kid", id);
    auto text = encode_base64url(header.dump()) + '.' + encode_base64url(claims.dump());
    auto* context = EVP_MD_CTX_new();
    EVP_PKEY_CTX* details = nullptr;
    REQUIRE(EVP_DigestSignInit_ex(context, &details, digest.empty() ? nullptr : digest.c_str(), nullptr, nullptr,
                                  key.get(), nullptr) == 1);
    if (algorithm[0] == 'P') {
      EVP_PKEY_CTX_set_rsa_padding(details, RSA_PKCS1_PSS_PADDING);
      EVP_PKEY_CTX_set_rsa_pss_saltlen(details, RSA_PSS_SALTLEN_DIGEST);
    }
    auto* data = reinterpret_cast<const unsigned char*>(text.data());
    size_t size = 0;
    REQUIRE(EVP_DigestSign(context, nullptr, &size, data, text.size()) == 1);
    std::string out(size, '\0');
    REQUIRE(EVP_DigestSign(context, reinterpret_cast<unsigned char*>(out.data()), &size, data, text.size()) == 1);
    out.resize(size);
    EVP_MD_CTX_free(context);
    return text + '.' + encode_base64url(half ? raw(out) : out);
  }
};

std::vector<web_key> keys_of(std::initializer_list<json> keys) {
  auto out = read_key_set(json{{"keys", json::array_t(keys.begin(), keys.end())}}.dump());
  REQUIRE(out);
  return *out;
}

outcome<void> verify(const std::string& token, const std::vector<web_key>& keys) {
  auto parsed = parse_token(token);
  if (!parsed) return tl::unexpected{parsed.error()};
  return check_signature(*parsed, keys);
}

const json claims{{"iss", "https://id.example"}, {"sub", "1"}, {"aud", "troupe"}, {"exp", 1000}};
const expected_claims expected{"https://id.example", "troupe", {"troupe", "troupe-cli"}, 900};

json but(const char* name, json value) {
  auto out = claims;
  out[name] = std::move(value);
  return out;
}

} // namespace

TEST_CASE("tokens of every allowed algorithm are believed, and no bit of them may change") {
  for (auto alg : {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}) {
    CAPTURE(alg);
    signer provider{alg, "a"}, other{alg, "a"};
    auto keys = keys_of({provider.jwk()});
    auto token = provider.sign(claims);
    CHECK(verify(token, keys));
    CHECK(parse_token(token)->claims == claims);
    CHECK_FALSE(verify(other.sign(claims), keys));
    auto dot = token.find('.');
    for (size_t at : {dot + 3, token.rfind('.') - 2, token.rfind('.') + 5}) {
      auto bent = token;
      bent[at] = bent[at] == 'A' ? 'B' : 'A';
      CHECK_FALSE(verify(bent, keys));
    }
    CHECK_FALSE(verify(token.substr(0, token.rfind('.') + 1), keys)); // no signature
  }
}

TEST_CASE("a token chooses neither a weaker algorithm nor another key") {
  signer rsa{"RS256", "a"}, ec{"ES256", "b"};
  auto keys = keys_of({rsa.jwk(), ec.jwk()});
  for (auto alg : {"none", "None", "HS256", "HS512", "RS1", "ES256K", ""})
    CHECK_FALSE(verify(rsa.sign(claims, {{"alg", alg}}), keys));
  CHECK_FALSE(verify(rsa.sign(claims, {{"alg", "ES256"}}), keys));
  CHECK_FALSE(verify(rsa.sign(claims, {{"alg", "PS256"}}), keys));
  CHECK_FALSE(verify(rsa.sign(claims, {{"kid", "b"}}), keys));
  CHECK_FALSE(verify(rsa.sign(claims, {{"crit", {"exp"}}}), keys));
  CHECK_FALSE(verify(rsa.sign(claims, {{"typ", "logout+jwt"}}), keys));
  CHECK(verify(rsa.sign(claims, {{"typ", "at+JWT"}}), keys));
  CHECK(verify(rsa.sign(claims, {{"kid", "c"}}), keys).error().code == fault::not_found); // perhaps a new one
  auto only = rsa.jwk();
  only["alg"] = "RS512";
  CHECK_FALSE(verify(rsa.sign(claims), keys_of({only})));
  // A public key is no shared secret.
  auto text = encode_base64url(json{{"alg", "HS256"}, {"kid", "a"}}.dump()) + '.' + encode_base64url(claims.dump());
  auto secret = number(rsa.key.get(), "n");
  unsigned char mac[32];
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, nullptr);
  CHECK_FALSE(verify(text + '.' + encode_base64url({reinterpret_cast<char*>(mac), sizeof mac}), keys));
}

TEST_CASE("base64url there and back; what is not exactly that is refused") {
  for (std::string_view plain : {"", "a", "ab", "abc", "\xff\xfe\xfd\xfc"}) {
    std::string back;
    CHECK(decode_base64url(encode_base64url(plain), back));
    CHECK(back == plain);
  }
  std::string nothing;
  for (auto bad : {"a", "ab=", "a+b/", "ab cd", "AB"}) CHECK_FALSE(decode_base64url(bad, nothing));
}

TEST_CASE("what is no token is refused") {
  signer ec{"ES256", "a"};
  auto keys = keys_of({ec.jwk()});
  auto good = ec.sign(claims);
  std::string deep(40, '[');
  for (auto bad : {std::string{}, std::string{"."}, std::string{".."}, std::string{"a.b"}, std::string{"a.b.c.d"},
                   std::string{"e30.e30.e30"}, good + ".", good + "=", " " + good, "!" + good, std::string(20'000, 'a'),
                   encode_base64url(deep) + ".e30.AA", encode_base64url("\"x\"") + ".e30.AA",
                   encode_base64url("{\"alg\":7}") + ".e30.AA"}) {
    CAPTURE(bad.substr(0, 50));
    CHECK_FALSE(verify(bad, keys));
  }
}

TEST_CASE("sets of keys: bad ones are left out, and nonsense is none") {
  signer ec{"ES256", "a"};
  auto off_curve = ec.jwk(), small = ec.jwk(), for_encryption = ec.jwk();
  off_curve["y"] = off_curve["x"];
  small["x"] = "AA";
  for_encryption["use"] = "enc";
  json weak{{"kty", "RSA"}, {"n", encode_base64url(std::string(128, '\x81'))}, {"e", "AQAB"}};
  CHECK(keys_of({off_curve, small, for_encryption, weak, json{{"kty", "oct"}, {"k", "AAAA"}}, 7, json::object()})
            .empty());
  for (auto bad : {"", "[]", "{}", "{\"keys\":7}", "nonsense"}) CHECK_FALSE(read_key_set(bad));
}

TEST_CASE("what a token must say") {
  CHECK(check_claims(claims, expected));
  CHECK(check_claims(but("aud", {"other", "troupe"}), expected));
  CHECK(check_claims(but("azp", "troupe"), expected));
  CHECK(check_claims(but("client_id", "troupe-cli"), expected));
  CHECK(check_claims(but("exp", 850), expected)); // clocks differ a little
  for (auto& bad : {but("exp", 800), but("exp", "1000"), but("exp", nullptr), but("nbf", 1000), but("iat", 1000),
                    but("iss", "https://id.example/"), but("iss", nullptr), but("aud", "other"),
                    but("aud", json::array()), but("aud", nullptr), but("azp", "other"), but("azp", 7),
                    but("client_id", "other"), but("sub", ""), but("sub", 7)}) {
    CAPTURE(bad.dump());
    CHECK_FALSE(check_claims(bad, expected));
  }
  auto endless = claims;
  endless.erase("exp");
  CHECK_FALSE(check_claims(endless, expected));
  CHECK(check_claims(but("aud", "api"), {"https://id.example", "api", {"troupe"}, 900}));
  CHECK_FALSE(check_claims(claims, {"https://id.example", "api", {"troupe"}, 900}));
}
