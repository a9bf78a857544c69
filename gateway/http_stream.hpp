#pragma once

#include "gateway/http_deadlines.hpp"
#include "gateway/http_server.hpp"

#include <chrono>
#include <memory>
#include <span>
#include <string_view>

struct uv_stream_s;

namespace troupe {

class http_context;

/// One accepted connection as a stream of bytes. Loop's thread only; it closes when it is destroyed.
class http_stream final : http_deadlines::entry {
public:
  /// Who uses the stream now. Any call may destroy the stream.
  class user {
  public:
    virtual ~user() = default;
    virtual void on_bytes(std::string_view bytes) = 0; // valid during the call
    virtual void on_end() = 0;                         // the peer sends no more, or reading failed
    virtual void on_written(bool ok) = 0;              // after `write` answered `later`
    virtual void on_deadline() = 0;
    virtual void abort() = 0; // the server ends
  };

  /// Null when it is gone already.
  static std::unique_ptr<http_stream> accept(std::shared_ptr<http_context> context, uv_stream_s* listener);
  ~http_stream();

  void attach(user* by) noexcept { user_ = by; }
  void read(bool on); // nothing happens after the end of the peer's bytes

  enum class sent { all, later, failed };
  static constexpr size_t pieces_max = 64;
  /// Sends the pieces in order, at once as far as the peer takes them. `later`: the pieces must stay until on_written,
  /// and nothing else is written before.
  sent write(std::span<const std::string_view> pieces);
  bool writing() const noexcept { return writing_; }
  size_t unwritten() const noexcept; // of the write under way
  void finish_writing();             // the peer sees an end of file

  void set_deadline(std::chrono::milliseconds in) noexcept;
  void clear_deadline() noexcept;

  bool peer_gone() const noexcept;     // closed both ways, not only finished writing
  bool peer_read_all() const noexcept; // nothing sent waits in the kernel
  const peer_credentials& peer() const noexcept { return peer_; }
  http_context& context() const noexcept { return *context_; }

private:
  struct block; // what libuv knows; outlives the stream until libuv has closed it

  explicit http_stream(std::shared_ptr<http_context> context);
  void deadline_passed() override;
  int fd() const noexcept;

  std::shared_ptr<http_context> context_;
  block* block_ = nullptr;
  user* user_ = nullptr;
  peer_credentials peer_;
  bool reading_ = false;
  bool ended_ = false;
  bool writing_ = false;
};

} // namespace troupe
