#pragma once

#include "gateway/tls_identity.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// The arithmetic of one TLS connection, without a socket: bytes of the wire in and out, plain bytes in and out.
/// One thread.
class tls_session {
public:
  explicit tls_session(std::shared_ptr<const tls_identity> identity);
  tls_session(tls_session&& other) noexcept;
  ~tls_session();

  enum class progress { done, more, failed };
  progress handshake();

  void receive(std::string_view wire); // what came from the peer
  /// Of what was received, decrypted: the count, 0 at the peer's end, -1 when more is needed, -2 when it is broken.
  long read(char* into, size_t room);

  /// Encrypts all of it (at most some ten records at once, please); false: broken.
  bool write(std::string_view plain);
  void say_end();                    // close_notify
  void take_wire(std::string& into); // appends what has to be sent to the peer
  bool has_wire() const;
  /// The peer's certificate; empty: it has shown none.
  std::string peer_der() const;
  const tls_identity& identity() const { return *identity_; }

private:
  std::shared_ptr<const tls_identity> identity_;
  ssl_st* session_ = nullptr;
};

} // namespace troupe
