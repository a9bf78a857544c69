#include "gateway/tls_identity.hpp"

#include "gateway/certificate_authority.hpp"

#include <array>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

namespace troupe {
namespace {

// Others are not spoken here: a client that offers only those goes on without.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                    unsigned offered_size, void*) {
  static constexpr std::array<unsigned char, 9> ours{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, size, ours.data(), ours.size(), offered, offered_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

int take_any_certificate(int, X509_STORE_CTX*) { return 1; }

bool use(SSL_CTX* context, std::string_view certificate_pem, std::string_view key_pem) {
  std::unique_ptr<BIO, decltype(&BIO_free)> chain{
      BIO_new_mem_buf(certificate_pem.data(), static_cast<int>(certificate_pem.size())), BIO_free};
  std::unique_ptr<BIO, decltype(&BIO_free)> secret{BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())),
                                                   BIO_free};
  std::unique_ptr<X509, decltype(&X509_free)> leaf{PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr),
                                                   X509_free};
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key{
      PEM_read_bio_PrivateKey(secret.get(), nullptr, nullptr, nullptr), EVP_PKEY_free};
  if (!leaf || !key) return false;
  if (SSL_CTX_use_certificate(context, leaf.get()) != 1 || SSL_CTX_use_PrivateKey(context, key.get()) != 1 ||
      SSL_CTX_check_private_key(context) != 1)
    return false;
  while (auto* next = PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr)) // the authorities between
    if (SSL_CTX_add0_chain_cert(context, next) != 1) X509_free(next);
  return true;
}

} // namespace

outcome<std::shared_ptr<const tls_identity>>
tls_identity::make(std::string_view certificate_pem, std::string_view key_pem,
                   std::shared_ptr<const certificate_authority> authority) {
  auto own = parse_certificate(certificate_pem);
  if (!own) return tl::unexpected{own.error()};
  std::shared_ptr<tls_identity> made{new tls_identity};
  auto* context = made->context_ = SSL_CTX_new(TLS_server_method());
  if (!context) return fail(fault::internal, "OpenSSL cannot be used");
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_mode(context,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // No tickets: each connection proves anew that it holds its key, and nothing outlives a change of trust.
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, take_any_certificate);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  if (!use(context, certificate_pem, key_pem)) {
    ERR_clear_error();
    return fail(fault::invalid, "The server's certificate and key do not parse or do not belong together");
  }
  ERR_clear_error(); // the chain's end is one
  made->own_ = std::move(*own);
  made->pem_ = to_pem(made->own_);
  made->authority_ = std::move(authority);
  return made;
}

std::shared_ptr<const tls_identity> tls_identity::make_client() {
  std::shared_ptr<tls_identity> made{new tls_identity};
  made->is_client_ = true;
  auto* context = made->context_ = SSL_CTX_new(TLS_client_method());
  if (!context) return nullptr;
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_mode(context,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, take_any_certificate);
  return made;
}

tls_identity::~tls_identity() { SSL_CTX_free(context_); }

ssl_st* tls_identity::open_session() const {
  auto* session = SSL_new(context_);
  auto *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  if (!session || !in || !out) {
    SSL_free(session);
    BIO_free(in);
    BIO_free(out);
    return nullptr;
  }
  SSL_set_bio(session, in, out);
  is_client_ ? SSL_set_connect_state(session) : SSL_set_accept_state(session);
  return session;
}

} // namespace troupe
