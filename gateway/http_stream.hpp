#pragma once

#include "gateway/http_server.hpp"

#include <chrono>
#include <memory>
#include <span>
#include <string_view>

namespace troupe {

class http_context;

/// One connection as a stream of bytes, whatever carries them. Loop's thread only; it closes when it is destroyed.
class http_stream {
public:
  /// Who uses the stream now. Any call may destroy the stream.
  class user {
  public:
    virtual ~user() = default;
    virtual void on_bytes(std::string_view bytes) = 0; // valid during the call
    virtual void on_end() = 0;                         // the peer sends no more, or reading failed
    virtual void on_written(bool ok) = 0;              // after `write` answered `later`
    virtual void on_deadline() = 0;
    virtual void abort() = 0;             // the server ends
    virtual void unwelcome() { abort(); } // the peer is not trusted any more
    /// Has the peer begun nothing that an end would break off? Then it can make room for others.
    virtual bool idle() const { return false; }
    /// Since when it is, ms of the context's clock; 0: since it came.
    virtual uint64_t rested_at() const { return 0; }
  };

  virtual ~http_stream() = default;

  void attach(user* by) noexcept { user_ = by; }
  virtual void read(bool on) = 0; // nothing happens after the end of the peer's bytes

  enum class sent { all, later, failed };
  static constexpr size_t pieces_max = 64;
  /// Sends the pieces in order, at once as far as the peer takes them. `later`: the pieces must stay until on_written,
  /// and nothing else is written before.
  virtual sent write(std::span<const std::string_view> pieces) = 0;
  virtual bool writing() const noexcept = 0;
  virtual size_t unwritten() const noexcept = 0; // of the write under way
  virtual void finish_writing() = 0;             // the peer sees an end of file

  virtual void set_deadline(std::chrono::milliseconds in) noexcept = 0;
  virtual void clear_deadline() noexcept = 0;

  virtual bool peer_gone() const noexcept = 0;     // closed both ways, not only finished writing
  virtual bool peer_read_all() const noexcept = 0; // nothing sent waits in the kernel
  const http_peer& peer() const noexcept { return peer_; }
  http_context& context() const noexcept { return *context_; }

protected:
  explicit http_stream(std::shared_ptr<http_context> context) : context_{std::move(context)} {}

  std::shared_ptr<http_context> context_;
  http_peer peer_;
  user* user_ = nullptr;
};

} // namespace troupe
