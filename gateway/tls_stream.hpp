#pragma once

#include "gateway/socket_stream.hpp"
#include "gateway/tls_session.hpp"

#include <string>
#include <vector>

namespace troupe {

/// A stream within TLS, after the handshake. Encrypts only what the socket is about to take, so that a slow reader
/// costs a fixed amount of memory. A peer that ends its side is gone: nobody half-closes TLS.
class tls_stream final : public http_stream, http_stream::user {
public:
  /// `raw` is idle; the session may hold received bytes already.
  tls_stream(std::unique_ptr<socket_stream> raw, tls_session session, http_peer peer);
  ~tls_stream() override;

  void read(bool on) override;
  sent write(std::span<const std::string_view> pieces) override;
  bool writing() const noexcept override { return writing_; }
  size_t unwritten() const noexcept override;
  void finish_writing() override;
  void set_deadline(std::chrono::milliseconds in) noexcept override { raw_->set_deadline(in); }
  void clear_deadline() noexcept override { raw_->clear_deadline(); }
  bool peer_gone() const noexcept override { return ended_ || raw_->peer_gone(); }
  bool peer_read_all() const noexcept override { return !writing_ && raw_->peer_read_all(); }

  void cut(); // tells the user that the peer is unwelcome
  const http_stream::user* used_by() const noexcept { return user_; }

private:
  void on_bytes(std::string_view wire) override;
  void on_end() override;
  void on_written(bool ok) override;
  void on_deadline() override;
  void abort() override;
  bool idle() const override { return user_ && user_->idle(); }
  uint64_t rested_at() const override { return user_ ? user_->rested_at() : 0; }

  void deliver();
  void end();
  sent push();
  bool encrypt_some();
  bool flush();

  std::unique_ptr<socket_stream> raw_;
  tls_session session_;
  std::string wire_; // encrypted, given to the socket
  std::vector<std::string_view> pieces_;
  size_t piece_ = 0, offset_ = 0; // what of `pieces_` is encrypted already
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool writing_ = false;
  bool reading_ = false;
  bool deliver_posted_ = false;
  bool left_over_ = true; // received and perhaps not delivered yet
  bool finishing_ = false;
  bool ended_ = false;
};

} // namespace troupe
