#include "gateway/migration/websocket_dial.hpp"

#include "gateway/http_context.hpp"
#include "gateway/http_parser.hpp"
#include "gateway/socket_stream.hpp"
#include "gateway/tls_stream.hpp"
#include "gateway/websocket_connection.hpp"
#include "runtime/certificate.hpp"
#include "runtime/log.hpp"

#include <algorithm>
#include <array>
#include <boost/beast/http.hpp>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <poll.h>
#include <sys/socket.h>

namespace troupe {
namespace {

namespace http = boost::beast::http;

constexpr std::chrono::seconds patience{10};
constexpr uint32_t head_bytes_max = 16 << 10;
constexpr int probe_after_seconds = 60; // a peer that vanished without a word

error unreachable(const remote_operation& where) {
  return {fault::backend_failed, "The other server cannot be reached at " + where.host + ":" + where.port +
                                     ", or is not the one whose certificate was given"};
}

bool all_of(std::string_view text, std::string_view more) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return std::isalnum(c) || more.find(static_cast<char>(c)) != more.npos;
  });
}

std::string base64(const unsigned char* bytes, size_t size) {
  std::string out(4 * ((size + 2) / 3) + 1, '\0');
  out.resize(static_cast<size_t>(
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes, static_cast<int>(size))));
  return out;
}

std::string make_key() {
  std::array<unsigned char, 16> random;
  RAND_bytes(random.data(), static_cast<int>(random.size()));
  return base64(random.data(), random.size());
}

/// What the server answers to a key (RFC 6455, 1.3).
std::string accepted(std::string key) {
  key += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  EVP_Digest(key.data(), key.size(), digest.data(), &size, EVP_sha1(), nullptr);
  return base64(digest.data(), size);
}

/// One connection on its way to a websocket: TLS, then HTTP. Loop's thread only; lives in the context's list.
class dialing final : public http_stream::user, public std::enable_shared_from_this<dialing> {
public:
  using done_call = std::function<void(std::shared_ptr<websocket>)>; // null: it did not come about

  dialing(std::unique_ptr<socket_stream> raw, std::shared_ptr<const tls_identity> client, remote_operation where,
          const std::string& secret, done_call done)
      : raw_{std::move(raw)}, session_{std::move(client)}, where_{std::move(where)}, key_{make_key()}, done_{std::move(
                                                                                                           done)} {
    auto host = where_.host.find(':') == std::string::npos ? where_.host : '[' + where_.host + ']';
    request_ = "GET " + where_.path + "/websocket?secret=" + secret + " HTTP/1.1\r\nHost: " + host + ":" + where_.port +
               "\r\nUser-Agent: Troupe\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + key_ +
               "\r\nSec-WebSocket-Version: 13\r\n\r\n";
    answer_.header_limit(head_bytes_max);
    answer_.skip(true); // there is no body in what we wait for
  }

  void begin() {
    context_ = raw_->context().shared_from_this();
    context_->add(shared_from_this());
    raw_->attach(this);
    raw_->set_deadline(patience);
    raw_->read(true);
    step();
  }

private:
  void on_bytes(std::string_view bytes) override {
    auto self = shared_from_this();
    if (stream_) return take_answer(bytes);
    session_.receive(bytes);
    step();
  }
  void on_end() override { fail_now(); }
  void on_deadline() override { fail_now(); }
  void abort() override { fail_now(); }
  void on_written(bool ok) override {
    auto self = shared_from_this();
    if (!ok) return fail_now();
    if (!stream_) step();
  }

  void step() {
    auto self = shared_from_this();
    if (!raw_ || raw_->writing()) return;
    if (!shaken_) {
      auto progress = session_.handshake();
      if (progress == tls_session::progress::failed) return fail_now();
      shaken_ = progress == tls_session::progress::done;
    }
    wire_.clear();
    session_.take_wire(wire_);
    if (!wire_.empty()) {
      std::array<std::string_view, 1> pieces{wire_};
      auto sent = raw_->write(pieces);
      if (sent == http_stream::sent::failed) return fail_now();
      if (sent == http_stream::sent::later) return;
    }
    if (shaken_) ask();
  }

  void ask() {
    if (session_.peer_der() != where_.certificate) return fail_now();
    raw_->read(false);
    raw_->attach(nullptr);
    stream_ = std::make_unique<tls_stream>(std::move(raw_), std::move(session_), http_peer{});
    stream_->attach(this);
    stream_->set_deadline(patience);
    std::array<std::string_view, 1> pieces{request_};
    if (stream_->write(pieces) == http_stream::sent::failed) return fail_now();
    stream_->read(true);
  }

  void take_answer(std::string_view bytes) {
    if (!done_) return;
    head_ += bytes;
    boost::system::error_code why;
    auto used = answer_.put(boost::asio::buffer(head_), why);
    if (why == http::error::need_more) {
      head_.erase(0, used);
      if (head_.size() > head_bytes_max) fail_now();
      return;
    }
    if (why || !is_upgrade()) return fail_now();
    head_.erase(0, used);
    stream_->read(false);
    stream_->clear_deadline();
    stream_->attach(nullptr);
    auto done = std::exchange(done_, nullptr);
    auto context = context_;
    websocket_connection::join(std::move(stream_), head_, done);
    context->remove(*this);
  }

  bool is_upgrade() const {
    auto& head = answer_.get();
    auto value = [&](http::field name) {
      auto found = head[name];
      return std::string_view{found.data(), found.size()};
    };
    return answer_.is_header_done() && head.result_int() == 101 &&
           has_token(value(http::field::upgrade), "websocket") &&
           has_token(value(http::field::connection), "upgrade") &&
           value(http::field::sec_websocket_accept) == accepted(key_);
  }

  void fail_now() {
    auto self = shared_from_this();
    auto done = std::exchange(done_, nullptr);
    raw_.reset();
    stream_.reset();
    context_->remove(*this);
    if (done) done(nullptr);
  }

  std::shared_ptr<http_context> context_;
  std::unique_ptr<socket_stream> raw_; // until the handshake is done
  tls_session session_;
  std::unique_ptr<http_stream> stream_; // from then on
  remote_operation where_;
  std::string key_, request_, wire_, head_;
  http::response_parser<http::empty_body> answer_;
  bool shaken_ = false;
  done_call done_;
};

/// A connected socket, or -1.
unique_fd connect_to(const addrinfo& place, std::chrono::steady_clock::time_point until) {
  unique_fd socket{::socket(place.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket) return socket;
  if (::connect(socket.get(), place.ai_addr, place.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return {};
    auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd wait{socket.get(), POLLOUT, 0};
    int why = 0;
    socklen_t size = sizeof why;
    if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) != 1 ||
        getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &why, &size) != 0 || why != 0)
      return {};
  }
  int on = 1;
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, &probe_after_seconds, sizeof probe_after_seconds);
  return socket;
}

unique_fd connect_to(const remote_operation& where, std::chrono::steady_clock::time_point until) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_NUMERICSERV;
  if (getaddrinfo(where.host.c_str(), where.port.c_str(), &wanted, &found) != 0) return {};
  std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all{found, freeaddrinfo};
  for (auto* one = all.get(); one; one = one->ai_next)
    if (auto socket = connect_to(*one, until)) return socket;
  return {};
}

} // namespace

outcome<remote_operation> read_remote(std::string_view url, std::string_view pem) {
  constexpr std::string_view scheme = "https://", place = "/1.0/operations/";
  auto refuse = [] { return fail(fault::invalid, "The operation must be https://HOST:PORT/1.0/operations/ID"); };
  if (!url.starts_with(scheme)) return refuse();
  url.remove_prefix(scheme.size());
  auto slash = url.find('/');
  if (slash == url.npos) return refuse();
  auto authority = url.substr(0, slash), path = url.substr(slash);
  if (!path.starts_with(place) || !all_of(path.substr(place.size()), "-") || path.size() > 200) return refuse();
  remote_operation out;
  out.path = path;
  out.port = "443";
  auto bracket = authority.rfind(']');
  auto colon = authority.rfind(':');
  if (colon != authority.npos && (bracket == authority.npos || colon > bracket)) {
    out.port = authority.substr(colon + 1);
    authority = authority.substr(0, colon);
  }
  if (authority.starts_with('[') && authority.ends_with(']')) authority = authority.substr(1, authority.size() - 2);
  out.host = authority;
  bool is_port = out.port.size() <= 5 && all_of(out.port, "") &&
                 std::all_of(out.port.begin(), out.port.end(), [](unsigned char c) { return std::isdigit(c); });
  if (!is_port || out.host.size() > 255 || !all_of(out.host, "-.:%")) return refuse();
  auto shown = parse_certificate(pem);
  if (!shown) return fail(fault::invalid, "The certificate of the other server does not parse");
  out.certificate = shown->der;
  return out;
}

websocket_dialer::websocket_dialer(loop& on)
    : on_{on}, context_{std::make_shared<http_context>(on, http_limits{}, [](std::unique_ptr<http_stream>) {})},
      client_{tls_identity::make_client()} {
  context_->open = std::shared_ptr<void>{this, [this](void*) { all_closed_.set_value(); }};
}

websocket_dialer::~websocket_dialer() {
  on_.post([context = context_] { context->abort_all(); });
  all_closed_.get_future().wait(); // libuv has let go of every handle
  context_->door->shut();
}

outcome<std::shared_ptr<websocket>> websocket_dialer::dial(const remote_operation& where, const std::string& secret) {
  if (secret.size() > 512 || !all_of(secret, "-_")) return fail(fault::invalid, "A secret is letters and digits");
  auto until = std::chrono::steady_clock::now() + patience;
  auto socket = std::make_shared<unique_fd>(connect_to(where, until));
  if (!*socket || !client_) return tl::unexpected{unreachable(where)};
  auto result = std::make_shared<std::promise<std::shared_ptr<websocket>>>();
  auto coming = result->get_future();
  on_.post([context = context_, client = client_, where, secret, socket, result] {
    auto told = [result](std::shared_ptr<websocket> made) { result->set_value(std::move(made)); };
    auto raw = context->open ? socket_stream::adopt(context, std::move(*socket)) : nullptr;
    if (!raw) return told(nullptr);
    std::make_shared<dialing>(std::move(raw), client, where, secret, told)->begin();
  });
  if (coming.wait_for(2 * patience) != std::future_status::ready) return tl::unexpected{unreachable(where)};
  auto made = coming.get();
  if (!made) return tl::unexpected{unreachable(where)};
  return made;
}

} // namespace troupe
