#pragma once

#include "runtime/certificate.hpp"

#include <memory>
#include <string>

struct ssl_ctx_st;
struct ssl_st;

namespace troupe {

class certificate_authority;

/// Who the server is towards TLS clients: its certificate and key, and the authority that vouches for clients, if there
/// is one. Immutable; any thread.
class tls_identity {
public:
  /// PEM texts. fault::invalid when they do not parse or do not belong together.
  static outcome<std::shared_ptr<const tls_identity>> make(std::string_view certificate_pem, std::string_view key_pem,
                                                           std::shared_ptr<const certificate_authority> authority);
  /// A client without a name of its own, for connections that we make: whether the server is the one that was meant is
  /// decided after the handshake, by its certificate.
  static std::shared_ptr<const tls_identity> make_client();
  ~tls_identity();

  /// A new session: TLS 1.3, HTTP/1.1. A server's asks for a certificate and takes any: who is trusted is decided
  /// later. Null when there is no memory.
  ssl_st* open_session() const;
  const certificate& own() const { return own_; }
  const std::string& pem() const { return pem_; }
  const certificate_authority* authority() const { return authority_.get(); }

private:
  tls_identity() = default;

  ssl_ctx_st* context_ = nullptr;
  certificate own_;
  std::string pem_;
  std::shared_ptr<const certificate_authority> authority_;
  bool is_client_ = false;
};

} // namespace troupe
