#include "gateway/tls_session.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <utility>

namespace troupe {

tls_session::tls_session(std::shared_ptr<const tls_identity> identity)
    : identity_{std::move(identity)}, session_{identity_->open_session()} {}

tls_session::tls_session(tls_session&& other) noexcept
    : identity_{std::move(other.identity_)}, session_{std::exchange(other.session_, nullptr)} {}

tls_session::~tls_session() { SSL_free(session_); }

tls_session::progress tls_session::handshake() {
  if (!session_) return progress::failed;
  auto result = SSL_do_handshake(session_);
  if (result == 1) return progress::done;
  auto why = SSL_get_error(session_, result);
  ERR_clear_error(); // the thread's queue is shared by all sessions
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? progress::more : progress::failed;
}

void tls_session::receive(std::string_view wire) {
  BIO_write(SSL_get_rbio(session_), wire.data(), static_cast<int>(wire.size()));
}

long tls_session::read(char* into, size_t room) {
  size_t got = 0;
  if (SSL_read_ex(session_, into, room, &got) == 1) return static_cast<long>(got);
  auto why = SSL_get_error(session_, 0);
  ERR_clear_error();
  if (why == SSL_ERROR_ZERO_RETURN) return 0;
  return why == SSL_ERROR_WANT_READ ? -1 : -2;
}

bool tls_session::write(std::string_view plain) {
  while (!plain.empty()) {
    size_t put = 0;
    if (SSL_write_ex(session_, plain.data(), plain.size(), &put) != 1) {
      ERR_clear_error();
      return false;
    }
    plain.remove_prefix(put);
  }
  return true;
}

void tls_session::say_end() {
  SSL_shutdown(session_);
  ERR_clear_error();
}

void tls_session::take_wire(std::string& into) {
  auto* out = SSL_get_wbio(session_);
  char* bytes = nullptr;
  auto size = BIO_get_mem_data(out, &bytes);
  if (size <= 0) return;
  into.append(bytes, static_cast<size_t>(size));
  BIO_reset(out);
}

bool tls_session::has_wire() const { return BIO_ctrl_pending(SSL_get_wbio(session_)) > 0; }

std::string tls_session::peer_der() const {
  auto* shown = SSL_get0_peer_certificate(session_);
  if (!shown) return {};
  auto size = i2d_X509(shown, nullptr);
  std::string out(static_cast<size_t>(size > 0 ? size : 0), '\0');
  auto* at = reinterpret_cast<unsigned char*>(out.data());
  i2d_X509(shown, &at);
  return out;
}

} // namespace troupe
