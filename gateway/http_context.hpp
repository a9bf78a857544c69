#pragma once

#include "gateway/host_places.hpp"
#include "gateway/http_deadlines.hpp"
#include "gateway/http_server.hpp"
#include "gateway/http_stream.hpp"

#include <atomic>
#include <map>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

struct uv_loop_s;
struct uv_timer_s;

namespace troupe {

class loop;
class socket_stream;
class tls_stream;

/// The way of other threads into the server's loop. Outlives the server: then nothing passes any more.
class http_door {
public:
  explicit http_door(loop& on) : on_{&on} {}
  /// False: the server is gone, `work` was dropped.
  bool post(std::function<void()> work);
  bool on_thread() const;
  void shut();

private:
  mutable std::mutex lock_;
  loop* on_; // guarded by lock_; null once shut
};

/// What all connections of one server share. Loop's thread only, except where said.
class http_context : public std::enable_shared_from_this<http_context> {
public:
  http_context(loop& on, http_limits limits, std::string spool_dir, http_server::rule body,
               http_server::handler handle);
  http_context(loop& on, http_limits limits, http_server::streams serve);
  ~http_context();

  uint64_t now_ms() const noexcept;
  void set_deadline(http_deadlines::entry& of, std::chrono::milliseconds in) noexcept;
  void clear_deadline(http_deadlines::entry& of) noexcept { deadlines_.set(of, http_deadlines::never, 0); }

  /// The owner of a stream lives as long as it is in here.
  void add(std::shared_ptr<http_stream::user> one);
  void remove(http_stream::user& one);
  void abort_all();

  /// A connection counts from here to there; the answer is its number.
  uint64_t enter(socket_stream& one);
  void leave(uint64_t serial);
  /// Ends the connection of that host that has been idle for longest; empty: of the one that has most. False: none is
  /// idle.
  bool make_room(const std::string& host);
  void disconnect(const std::function<bool(const http_peer&)>& whom);

  loop& on;
  uv_loop_s* const uv;
  const http_limits limits;
  const std::string spool_dir;
  const http_server::rule rule;
  const http_server::handler handle;
  const http_server::streams serve; // what gets a connection once it may speak
  const std::shared_ptr<http_door> door;
  std::atomic<size_t> streams{0}; // any thread
  std::shared_ptr<void> open;     // held by every handle and file job: the last one tells the server's destructor

  std::shared_ptr<const tls_identity> identity; // for handshakes from now on
  http_server::identity_source starttls;        // empty: unix sockets have no TLS
  std::vector<std::string> proxies;
  host_places hosts;
  std::unordered_set<tls_stream*> tls_streams;
  std::vector<char> plain; // where every TLS record is decrypted to; made with the first

  /// Where every read lands first, so that a waiting connection holds no buffer.
  std::vector<char> scratch = std::vector<char>(64 << 10);

private:
  void run_clock(bool wanted);

  std::map<uint64_t, socket_stream*> connections_; // in the order they came
  uint64_t last_connection_ = 0;
  http_deadlines deadlines_;
  uv_timer_s* clock_ = nullptr;
  bool clock_runs_ = false;
  std::unordered_map<http_stream::user*, std::shared_ptr<http_stream::user>> users_;
};

} // namespace troupe
