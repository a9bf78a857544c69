#pragma once

#include "gateway/http_deadlines.hpp"
#include "gateway/http_stream.hpp"
#include "messages/unique_fd.hpp"

#include <algorithm>

struct uv_stream_s;

namespace troupe {

class host_place;

/// A stream that is a unix or TCP socket.
class socket_stream final : public http_stream, http_deadlines::entry {
public:
  enum class family : uint8_t { unix_socket, tcp };
  /// Null when it is gone already.
  static std::unique_ptr<socket_stream> accept(std::shared_ptr<http_context> context, uv_stream_s* listener, family of,
                                               const std::string& where);
  /// A unix socket of our own, which counts for none of the limits. Null: libuv does not take it.
  static std::unique_ptr<socket_stream> adopt(std::shared_ptr<http_context> context, unique_fd socket);
  ~socket_stream() override;

  void read(bool on) override;
  sent write(std::span<const std::string_view> pieces) override;
  bool writing() const noexcept override { return writing_; }
  size_t unwritten() const noexcept override;
  void finish_writing() override;
  void set_deadline(std::chrono::milliseconds in) noexcept override;
  void clear_deadline() noexcept override;
  bool peer_gone() const noexcept override;
  bool peer_read_all() const noexcept override;

  /// The user gets bytes that somebody before him has read. Like any call of his it may destroy the stream.
  void receive(std::string_view bytes);
  /// Whom a trusted proxy speaks for: counts for that host from now on. False: it has too many connections already.
  bool speaks_for(std::string address);
  /// Counts for its host, or its user; false: too many, and none of them is idle.
  bool take_place();
  const host_place* place() const noexcept { return place_.get(); }
  bool idle() const { return user_ && user_->idle(); }
  uint64_t rested_at() const { return std::max(came_at_, user_ ? user_->rested_at() : 0); }
  void drop(); // makes room for somebody else
  void cut();  // tells the user that the peer is unwelcome

private:
  struct block; // what libuv knows; outlives the stream until libuv has closed it

  socket_stream(std::shared_ptr<http_context> context, family of);
  void deadline_passed() override;
  std::string host() const;
  int fd() const noexcept;

  block* block_ = nullptr;
  std::unique_ptr<host_place> place_;
  const uint64_t came_at_;
  uint64_t serial_ = 0; // among the context's connections; 0: it counts for none
  bool reading_ = false;
  bool ended_ = false;
  bool writing_ = false;
};

} // namespace troupe
