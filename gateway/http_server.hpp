#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace troupe {

class loop;
class http_stream;

class tls_identity;
struct listen_address;
struct certificate;

/// Who is at the other end.
struct http_peer {
  uint32_t uid = ~0u, gid = ~0u; // of a unix socket (SO_PEERCRED at accept)
  int32_t pid = 0;
  std::string socket;  // the path that it connected to; empty: not a unix socket
  std::string address; // IP:PORT of a TCP connection; "@": TLS on a unix socket, of whose peer nothing else is told;
                       // empty: a unix socket, and only then do uid and gid say who it is
  std::shared_ptr<const certificate> shown; // the certificate whose key it has proved to hold; null: none
  bool vouched = true;                      // by the server's authority, or there is none
  bool has_authority = false;
};

/// What to do with a request's body; decided from its head, before the body is read.
struct body_rule {
  bool spool = false;       // false: into `body` in memory; true: into an unnamed temporary file
  uint64_t limit = 1 << 20; // bytes; more is answered 413 and the connection closed
  bool forbidden = false;   // answered 403 at once: not a byte of the body is kept
};

struct http_request {
  std::string method;                                         // upper case
  std::string target;                                         // as sent
  std::string path;                                           // before '?', still encoded
  std::vector<std::string> segments;                          // of the path, percent-decoded one by one
  std::multimap<std::string, std::string, std::less<>> query; // decoded
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  unique_fd spool; // rewound; with rule.spool, if the request has a body
  uint64_t spool_size = 0;
  http_peer peer;
  bool wants_websocket = false; // Upgrade: websocket with a valid key

  std::string_view header(std::string_view name) const;    // case-insensitive, empty if absent
  std::string_view parameter(std::string_view name) const; // first query value, empty if absent
};

/// A piece of a reply body: bytes shared with others, or a range of a file that is streamed without being held in
/// memory.
struct file_range {
  unique_fd file;
  uint64_t offset = 0, size = 0;
};
/// What a pipe or socket gives until its end: the length is unknown, so the whole reply is sent chunked.
struct pipe_stream {
  unique_fd source;
};
using body_part = std::variant<std::string, std::shared_ptr<const std::string>, file_range, pipe_stream>;

struct http_response {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<body_part> body; // in order; with Content-Length unless a pipe_stream is among them
};

/// One websocket. Every method may be called from any thread. Callbacks run on the loop's thread.
class websocket {
public:
  virtual ~websocket() = default;
  /// Frames are sent in order. False: closed, or more than the connection's limit is queued (then the peer is too slow
  /// and is closed).
  virtual bool send_text(std::shared_ptr<const std::string> text) = 0;
  virtual bool send_binary(std::string data) = 0;
  virtual void close(uint16_t code = 1000) = 0; // after what is queued was sent
  virtual size_t queued_bytes() const = 0;      // payloads and a little per frame
  /// Set once. What arrives earlier waits (and reading stops when that grows). `binary`: false for text frames.
  virtual void on_message(std::function<void(std::string data, bool binary)> call) = 0;
  /// Each call set is called once, however it ends; also if it already has.
  virtual void on_close(std::function<void()> call) = 0;
  /// Called each time the queue falls below the low-water mark after having passed it.
  virtual void on_drain(std::function<void()> call) = 0;
  static constexpr size_t low_water_bytes = 64 << 10;
  virtual void pause(bool reading_paused) = 0; // back-pressure towards the peer
  /// The peer's program may be too busy to answer pings, for as long as it likes: whether it is gone is TCP's to say.
  virtual void be_patient() {}
};

/// Answers one request; copyable, any thread, first answer wins. Dropping the last copy unanswered sends 500.
class responder {
public:
  void send(http_response response) const;
  /// Upgrades; `ready` runs on the loop's thread. Pings every 10 s with payload "keepalive".
  void accept_websocket(std::function<void(std::shared_ptr<websocket>)> ready) const;
  /// Upgrades to `protocol`: from then on the connection's bytes are those of `ours`, a socket.
  void hand_over(std::string protocol, unique_fd ours) const;
  /// Goes along with whatever is sent. On the loop's thread, before anybody else has this.
  void add_header(std::string name, std::string value) const;
  /// True once the client went away (long polls stop caring).
  bool gone() const;
  /// Called on the loop's thread when the client went away before an answer.
  void on_gone(std::function<void()> call) const;

  struct state;
  explicit responder(std::shared_ptr<state> s) : state_{std::move(s)} {}

private:
  std::shared_ptr<state> state_;
};

struct http_limits {
  size_t header_bytes = 64 << 10;             // 431 beyond
  std::chrono::seconds header_timeout{10};    // from the first byte of a request to the end of its head
  std::chrono::seconds body_timeout{60};      // without progress
  std::chrono::seconds idle_timeout{300};     // kept-alive connection without a request
  std::chrono::seconds write_timeout{60};     // without progress
  size_t connections_max = 4096;              // more are answered 503 at once
  size_t connections_per_host = 4096;         // of TCP; more are closed at once
  bool hosts_are_sockets = false;             // a unix socket's clients count together, whoever they are
  std::chrono::seconds handshake_timeout{10}; // of TLS, from the first moment to its end
  size_t websocket_queue_bytes = 8 << 20;
  size_t websocket_message_bytes = 16 << 20; // a joined message from the peer; 1009 beyond
  std::chrono::seconds ping_period{10};      // a peer that read three pings and answered none is dropped
};

/// HTTP/1.1 on unix sockets and on TLS: keep-alive, pipelining (answered in order), chunked bodies both ways, Expect:
/// 100-continue, HEAD, websockets. Parsing by Boost.Beast, frames by wslay, all on one libuv loop; a slow, idle or
/// garbage client costs others nothing. Ignores SIGPIPE for the whole process: a peer that closes must not end it.
class http_server {
public:
  using rule = std::function<body_rule(const http_request& head)>;             // on the loop's thread
  using handler = std::function<void(http_request request, responder answer)>; // on the loop's thread; must not block

  /// `spool_dir`: where O_TMPFILE bodies go.
  http_server(loop& on, http_limits limits, std::string spool_dir, rule body, handler handle);
  /// Serves something else than HTTP: `serve` gets each connection, once its handshake is done. On the loop's thread.
  using streams = std::function<void(std::unique_ptr<http_stream> stream)>;
  http_server(loop& on, http_limits limits, streams serve);
  ~http_server(); // closes listeners and connections; call off the loop's thread

  /// Binds and listens, with the mode given. Replaces a stale socket file, refuses one that somebody answers on.
  outcome<void> listen_unix(const std::string& path, int mode);
  /// TLS on TCP, with the identity last given (required before). Two addresses of this server may overlap, so that one
  /// can take the place of another. fault::in_use: somebody else has it; nothing has changed.
  outcome<void> listen_tls(const listen_address& where);
  /// For handshakes from now on.
  void use_identity(std::shared_ptr<const tls_identity> identity);
  /// Who connects to a unix socket of this server may say STARTTLS first: then he is who his certificate says, and
  /// never the socket's peer. `identity` is asked for each such handshake, on the loop's thread; it may answer from any
  /// thread, with null if there is none.
  using identity_source = std::function<void(std::function<void(std::shared_ptr<const tls_identity>)> answer)>;
  void offer_starttls(identity_source identity);
  /// IP addresses that may say in a PROXY header for whom they speak.
  void trust_proxies(std::vector<std::string> addresses);
  /// Ends every connection of such a peer at once, whatever it is doing. Returns when they are gone.
  void disconnect(const std::function<bool(const http_peer&)>& whom);
  /// Stops accepting and removes the socket files; running requests go on. One address or path, or all.
  void stop_listening(const std::string& where);
  void stop_listening();
  size_t connections() const;

private:
  struct data;
  std::shared_ptr<data> data_;
};

/// Moves bytes between a descriptor and a websocket with back-pressure both ways; used by exec, console, migration.
/// fd -> websocket: binary frames, then (at end of file) an empty text frame. websocket -> fd: binary frames are
/// written, an empty text frame or close ends the writing side. Owns `fd`. `ended(from_fd)` runs once per direction on
/// the loop's thread. Keeps itself alive until all its directions have ended. Never closes the websocket. Any thread.
/// Takes on_message and on_drain of the websocket for itself; `to_socket` ignores what the peer sends.
class fd_pump {
public:
  enum class direction { to_socket, from_socket, both };
  static std::shared_ptr<fd_pump> start(loop& on, unique_fd fd, std::shared_ptr<websocket> socket, direction ways,
                                        std::function<void(bool from_fd)> ended);
  virtual ~fd_pump() = default;
  /// No more is read from the descriptor after what is there now (the process ended, but a grandchild holds the pipe).
  virtual void drain_and_stop() = 0;
  // What follows: on the loop's thread.
  /// Ends at once, without a word to anybody.
  virtual void stop() = 0;
  /// `tell(true)` when the peer has taken nothing for so long that it is as good as gone: from then on the descriptor
  /// is not read, whatever the peer does, until `go_on`. `tell(false)`: it takes something again.
  virtual void watch_peer(std::chrono::milliseconds patience, std::function<void(bool gone)> tell) = 0;
  /// Sends `first`, and what the descriptor gives after that.
  virtual void go_on(std::string first) = 0;
};

} // namespace troupe
