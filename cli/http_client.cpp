#include "cli/http_client.hpp"

#include "cli/interrupt.hpp"

#include <algorithm>
#include <array>
#include <boost/beast/core/detail/base64.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace troupe {
namespace {

namespace http = boost::beast::http;
using reply_parser = http::response_parser<http::string_body>;

constexpr size_t chunk_bytes = 256 << 10;
constexpr uint64_t reply_bytes_max = 1ull << 30;

uint64_t size_of(const body_piece& piece) {
  if (auto* bytes = std::get_if<std::string>(&piece)) return bytes->size();
  return std::get<body_file>(piece).size;
}

/// One call on one connection: writes, listens meanwhile for an early refusal, reads the reply.
class exchange {
public:
  exchange(int socket, const interrupt* stop, const http_call& call) : socket_{socket}, stop_{stop}, call_{call} {
    for (auto& piece : call.body) total_ += size_of(piece);
    parser_.body_limit(reply_bytes_max);
    parser_.eager(true);
    if (call.method == "HEAD") parser_.skip(true);
  }

  outcome<void> write_request() {
    std::string head = call_.method + " " + call_.target +
                       " HTTP/1.1\r\nHost: unix.socket\r\nUser-Agent: troupe " TROUPE_VERSION "\r\n";
    for (auto& [name, value] : call_.headers) head.append(name).append(": ").append(value).append("\r\n");
    if (total_ > 0 || call_.method == "POST" || call_.method == "PUT" || call_.method == "PATCH")
      head += "Content-Length: " + std::to_string(total_) + "\r\n";
    head += "\r\n";
    if (auto done = write(head); !done) return done;
    for (auto& piece : call_.body) {
      if (answered_) break;
      auto done = std::holds_alternative<std::string>(piece) ? write_counted(std::get<std::string>(piece))
                                                             : write_file(std::get<body_file>(piece));
      if (!done) return done;
    }
    return {};
  }

  /// Up to the end of the head, or of the whole reply.
  outcome<void> read_reply(bool head_only) {
    while (head_only ? !parser_.is_header_done() : !parser_.is_done()) {
      auto ready = wait_for(socket_, POLLIN, call_.timeout_ms, stop_);
      if (!ready) return tl::unexpected{ready.error()};
      if (!*ready) return fail(fault::timed_out, "The server did not answer in time");
      auto space = input_.prepare(chunk_bytes);
      ssize_t got = ::recv(socket_, space.data(), space.size(), MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got < 0) return fail_errno(errno, "Cannot read from the server");
      boost::beast::error_code problem;
      if (got == 0) {
        if (parser_.got_some()) parser_.put_eof(problem);
        if (problem || !parser_.got_some() || !parser_.is_done())
          return fail(fault::backend_failed, "The server closed the connection without an answer");
        break;
      }
      input_.commit(static_cast<size_t>(got));
      if (auto done = parse(); !done) return done;
    }
    return {};
  }

  http_reply take() {
    auto message = parser_.release();
    http_reply reply{static_cast<int>(message.result_int()), {}, std::move(message.body())};
    for (auto& field : message.base()) {
      std::string name{field.name_string()};
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      reply.headers.insert_or_assign(std::move(name), std::string{field.value()});
    }
    return reply;
  }

  std::string rest() const { return {static_cast<const char*>(input_.data().data()), input_.size()}; }

private:
  outcome<void> parse() {
    while (input_.size() > 0 && !parser_.is_done()) {
      boost::beast::error_code problem;
      size_t used = parser_.put(input_.data(), problem);
      input_.consume(used);
      if (problem == http::error::need_more) return {};
      if (problem) return fail(fault::backend_failed, "The server's answer is not HTTP: " + problem.message());
      if (used == 0) return {};
    }
    return {};
  }

  /// Returns early, without an error, when the server has begun to answer: it does not want the rest.
  outcome<void> write(std::string_view bytes) {
    while (!bytes.empty()) {
      auto ready = wait_for(socket_, POLLOUT | POLLIN, -1, stop_);
      if (!ready) return tl::unexpected{ready.error()};
      char peek;
      if (::recv(socket_, &peek, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
        answered_ = true;
        return {};
      }
      ssize_t put = ::send(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (put < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (put < 0 && (errno == EPIPE || errno == ECONNRESET)) {
        answered_ = true; // what it said before it hung up can still be read
        return {};
      }
      if (put < 0) return fail_errno(errno, "Cannot write to the server");
      bytes.remove_prefix(static_cast<size_t>(put));
    }
    return {};
  }

  outcome<void> write_counted(std::string_view bytes) {
    if (auto done = write(bytes); !done) return done;
    sent_ += bytes.size();
    if (call_.progress) call_.progress(sent_, total_);
    return {};
  }

  outcome<void> write_file(const body_file& file) {
    std::string buffer(chunk_bytes, '\0');
    for (uint64_t at = 0; at < file.size && !answered_;) {
      ssize_t got =
          ::pread(file.fd, buffer.data(), std::min<uint64_t>(buffer.size(), file.size - at), static_cast<off_t>(at));
      if (got < 0) return fail_errno(errno, "Cannot read the file to send");
      if (got == 0) return fail(fault::backend_failed, "The file to send became shorter while it was sent");
      if (auto done = write_counted({buffer.data(), static_cast<size_t>(got)}); !done) return done;
      at += static_cast<uint64_t>(got);
    }
    return {};
  }

  int socket_;
  const interrupt* stop_;
  const http_call& call_;
  uint64_t total_ = 0, sent_ = 0;
  bool answered_ = false;
  reply_parser parser_;
  boost::beast::flat_buffer input_;
};

std::string websocket_key() {
  std::array<unsigned char, 16> random{};
  if (getrandom(random.data(), random.size(), 0) < 0) random.fill('t');
  std::string key(boost::beast::detail::base64::encoded_size(random.size()), '\0');
  key.resize(boost::beast::detail::base64::encode(key.data(), random.data(), random.size()));
  return key;
}

} // namespace

outcome<unique_fd> http_client::connect() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path_.size() >= sizeof address.sun_path)
    return fail(fault::invalid, "The socket's path " + socket_path_ + " is longer than the kernel allows");
  socket_path_.copy(address.sun_path, socket_path_.size());
  unique_fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!socket) return fail_errno(errno, "Cannot make a socket");
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return socket;
  int number = errno;
  if (number == ECONNREFUSED)
    return fail(fault::wrong_state, "The daemon is not running: nobody listens on " + socket_path_);
  if (number == ENOENT) return fail(fault::not_found, "The daemon is not running: there is no " + socket_path_);
  return fail_errno(number, "Cannot connect to " + socket_path_);
}

outcome<http_reply> http_client::send(const http_call& call) const {
  auto socket = connect();
  if (!socket) return tl::unexpected{socket.error()};
  exchange talk{socket->get(), stop_, call};
  if (auto done = talk.write_request(); !done) return tl::unexpected{done.error()};
  if (auto done = talk.read_reply(false); !done) return tl::unexpected{done.error()};
  return talk.take();
}

outcome<http_client::upgraded> http_client::upgrade(const std::string& target) const {
  http_call call{.target = target};
  call.headers = {{"Upgrade", "websocket"},
                  {"Connection", "Upgrade"},
                  {"Sec-WebSocket-Version", "13"},
                  {"Sec-WebSocket-Key", websocket_key()}};
  auto socket = connect();
  if (!socket) return tl::unexpected{socket.error()};
  exchange talk{socket->get(), stop_, call};
  if (auto done = talk.write_request(); !done) return tl::unexpected{done.error()};
  if (auto done = talk.read_reply(true); !done) return tl::unexpected{done.error()};
  auto first_bytes = talk.rest();
  auto reply = talk.take();
  if (reply.status != 101)
    return fail(fault::backend_failed,
                "The server refused a websocket on " + target + " with status " + std::to_string(reply.status));
  return upgraded{std::move(*socket), std::move(first_bytes)};
}

std::string url_encode(std::string_view text) {
  constexpr char hex[] = "0123456789ABCDEF";
  std::string out;
  for (unsigned char c : text) {
    if (std::isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~')
      out += static_cast<char>(c);
    else
      (out += '%', out += hex[c >> 4], out += hex[c & 15]);
  }
  return out;
}

} // namespace troupe
