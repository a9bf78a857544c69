#pragma once

#include "gateway/socket_stream.hpp"

#include <memory>
#include <string>

namespace troupe {

class tls_identity;

/// A connection to a unix socket until its first bytes tell what it speaks: TLS behind the line "STARTTLS", else what
/// the server serves. Who begins that line and does not end it is closed, like one who does not end a request's head.
/// Behind the line nothing of what the socket's peer is counts any more. Loop's thread only; lives in the context's
/// list.
class starttls_gate final : public http_stream::user, public std::enable_shared_from_this<starttls_gate> {
public:
  static void start(std::unique_ptr<socket_stream> raw);
  explicit starttls_gate(std::unique_ptr<socket_stream> raw) : raw_{std::move(raw)} {}

private:
  void on_bytes(std::string_view bytes) override;
  void on_end() override { close(); }
  void on_written(bool) override {}
  void on_deadline() override { close(); }
  void abort() override { close(); }
  bool idle() const override { return true; }

  void serve(std::string_view bytes);
  void ask_identity(std::string_view behind_line);
  void shake_hands(std::shared_ptr<const tls_identity> as);
  void close();

  std::unique_ptr<socket_stream> raw_; // null once it is somebody else's, or ended
  std::string held_;                   // half a line; then what came behind it
};

} // namespace troupe
