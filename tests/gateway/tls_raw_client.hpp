#pragma once

#include "gateway/server_certificate.hpp"
#include "gateway/tls_identity.hpp"
#include "http_raw_client.hpp"
#include "runtime/listen_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

namespace troupe::test {

/// A TCP connection to the loopback address; blocking, gives up after 20 s.
inline unique_fd connect_tcp(uint16_t port) {
  unique_fd made{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  timeval patience{20, 0};
  setsockopt(made.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return made;
}

/// True once the other side has closed.
inline bool sees_end(int fd) {
  char bytes[4096];
  ssize_t got = 0;
  while ((got = ::recv(fd, bytes, sizeof bytes, 0)) > 0) {
  }
  return got == 0 || errno == ECONNRESET;
}

/// A free port of the loopback address; free a moment ago, at least.
inline listen_address free_address() {
  unique_fd probe{::socket(AF_INET, SOCK_STREAM, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return parse_listen_addresses("127.0.0.1:" + std::to_string(ntohs(address.sin_port)), 1)->front();
}

/// One TLS client connection that speaks in bytes.
class tls_client {
public:
  explicit tls_client(uint16_t port, const key_pair* own = nullptr, int version_max = TLS1_3_VERSION)
      : fd_{connect_tcp(port)}, context_{SSL_CTX_new(TLS_client_method())} {
    SSL_CTX_set_max_proto_version(context_, version_max);
    if (own) use(*own);
    session_ = SSL_new(context_);
    SSL_set_fd(session_, fd_.get());
    shaken_ = SSL_connect(session_) == 1;
  }
  /// On a connection that there is already; `begin` sends the first flight.
  tls_client(unique_fd connected, const key_pair* own, const std::function<void(int fd, std::string_view hello)>& begin)
      : fd_{std::move(connected)}, context_{SSL_CTX_new(TLS_client_method())} {
    if (own) use(*own);
    session_ = SSL_new(context_);
    SSL_set_bio(session_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_connect(session_);
    char* hello = nullptr;
    auto size = BIO_get_mem_data(SSL_get_wbio(session_), &hello);
    begin(fd_.get(), {hello, static_cast<size_t>(size)});
    SSL_set_fd(session_, fd_.get());
    shaken_ = SSL_connect(session_) == 1;
  }
  ~tls_client() {
    SSL_free(session_);
    SSL_CTX_free(context_);
  }
  tls_client(const tls_client&) = delete;

  bool shaken() const { return shaken_; }
  SSL* session() { return session_; }
  int fd() const { return fd_.get(); }

  bool send(std::string_view bytes) {
    size_t put = 0;
    return bytes.empty() || (SSL_write_ex(session_, bytes.data(), bytes.size(), &put) == 1 && put == bytes.size());
  }
  /// Up to `count` bytes; fewer at the end.
  std::string take(size_t count) {
    std::string out(count, '\0');
    size_t at = 0, got = 0;
    while (at < count && SSL_read_ex(session_, out.data() + at, count - at, &got) == 1) at += got;
    out.resize(at);
    return out;
  }
  std::string take_through(std::string_view end) {
    std::string out;
    for (auto next = take(1); !next.empty(); next = take(1)) {
      out += next;
      if (out.ends_with(end)) break;
    }
    return out;
  }
  reply ask(std::string_view request) {
    send(request);
    reply got;
    got.head = take_through("\r\n\r\n");
    if (got.head.size() < 12) return got;
    got.status = atoi(got.head.c_str() + 9);
    if (auto at = got.head.find("Content-Length: "); at != got.head.npos)
      got.body = take(strtoull(got.head.c_str() + at + 16, nullptr, 10));
    return got;
  }

private:
  void use(const key_pair& own) {
    auto read = [](const std::string& text) { return BIO_new_mem_buf(text.data(), static_cast<int>(text.size())); };
    auto *crt = read(own.certificate), *key = read(own.key);
    auto* x509 = PEM_read_bio_X509(crt, nullptr, nullptr, nullptr);
    auto* secret = PEM_read_bio_PrivateKey(key, nullptr, nullptr, nullptr);
    REQUIRE(SSL_CTX_use_certificate(context_, x509) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey(context_, secret) == 1);
    X509_free(x509);
    EVP_PKEY_free(secret);
    BIO_free(crt);
    BIO_free(key);
  }

  unique_fd fd_;
  SSL_CTX* context_;
  SSL* session_ = nullptr;
  bool shaken_ = false;
};

/// A TLS server on a loop of its own.
struct tls_fixture {
  scratch_dir dir;
  key_pair pair = *load_or_make_server_certificate(dir.path, "test.example");
  std::unique_ptr<loop> on = std::make_unique<loop>("test");
  std::unique_ptr<http_server> server;
  listen_address address = free_address();

  explicit tls_fixture(http_server::handler handle, http_limits limits = {}) {
    auto rule = [](const http_request&) { return body_rule{false, 64 << 20}; };
    server = std::make_unique<http_server>(*on, limits, dir.path, rule, std::move(handle));
    server->use_identity(*tls_identity::make(pair.certificate, pair.key, nullptr));
    REQUIRE(server->listen_tls(address));
  }
  ~tls_fixture() {
    server.reset();
    on.reset();
  }
  uint16_t port() const { return address.port(); }
};

} // namespace troupe::test
