#pragma once

#include "gateway/proxy_header.hpp"
#include "gateway/socket_stream.hpp"
#include "gateway/tls_session.hpp"

#include <memory>
#include <string>

namespace troupe {

/// A connection until it may speak: of TCP first perhaps a trusted proxy's header, then the TLS handshake; all of it
/// within one time-out that nothing extends. Signatures, and checking those of others, take milliseconds: they are made
/// on libuv's threads, so that a flood of handshakes delays nobody who has done his. Loop's thread only; lives in
/// the context's list.
class tls_handshake final : public http_stream::user, public std::enable_shared_from_this<tls_handshake> {
public:
  /// `first`: what was read of it already.
  static void start(std::unique_ptr<socket_stream> raw, std::shared_ptr<const tls_identity> as,
                    std::string_view first = {});
  tls_handshake(std::unique_ptr<socket_stream> raw, std::shared_ptr<const tls_identity> as);

private:
  void on_bytes(std::string_view bytes) override;
  void on_end() override { close(); }
  void on_written(bool ok) override;
  void on_deadline() override { close(); }
  void abort() override { close(); }
  bool idle() const override { return true; }

  bool read_proxy_header(std::string_view& bytes);
  void step();
  void stepped(tls_session::progress progress);
  bool send();
  void finish();
  void close();

  std::unique_ptr<socket_stream> raw_; // null once ended
  tls_session session_;                // one of libuv's threads has it while we wait
  bool waiting_ = false;
  bool expects_proxy_ = false;
  std::string proxy_bytes_;
  std::string wire_;
  bool failed_ = false; // only the alert has still to go
  bool done_ = false;   // only our last message has still to go
};

} // namespace troupe
