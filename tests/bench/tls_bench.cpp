// HTTPS against its floors: keep-alive requests within TLS and on the unix socket, whole handshakes over TCP and
// OpenSSL's own in memory. One client, so that the numbers are costs and not queues. Prints one JSON object.
// Argument: a scratch folder.

#include "gateway/http_server.hpp"
#include "gateway/server_certificate.hpp"
#include "gateway/tls_session.hpp"
#include "runtime/listen_address.hpp"
#include "runtime/loop.hpp"

#include <arpa/inet.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <string>
#include <sys/un.h>
#include <unistd.h>

using namespace troupe;
using clock_type = std::chrono::steady_clock;

namespace {

constexpr uint16_t port = 28443;
constexpr std::string_view request = "GET /1.0 HTTP/1.1\r\nHost: a\r\n\r\n";

double seconds() {
  const char* set = std::getenv("BENCH_SECONDS");
  return set ? std::atof(set) : 3;
}

/// How often a second `act` can be done.
template <class Act>
double rate(Act act) {
  auto begin = clock_type::now();
  auto end = begin + std::chrono::duration<double>{seconds()};
  long count = 0;
  for (; clock_type::now() < end; ++count) act();
  return static_cast<double>(count) / std::chrono::duration<double>{clock_type::now() - begin}.count();
}

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "tls_bench: %s\n", what);
  std::exit(1);
}

unique_fd connected(const sockaddr* to, socklen_t size) {
  unique_fd made{::socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (::connect(made.get(), to, size) != 0) give_up("cannot connect");
  return made;
}

unique_fd connect_tcp() {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connected(reinterpret_cast<sockaddr*>(&to), sizeof to);
}

unique_fd connect_unix(const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path, path.c_str(), sizeof to.sun_path - 1);
  return connected(reinterpret_cast<sockaddr*>(&to), sizeof to);
}

struct tls_client {
  unique_fd fd = connect_tcp();
  SSL* session;
  explicit tls_client(SSL_CTX* context) : session{SSL_new(context)} {
    SSL_set_fd(session, fd.get());
    if (SSL_connect(session) != 1) give_up("handshake");
  }
  ~tls_client() { SSL_free(session); }
};

// Both sides in one thread; each gives the other what it has to say.
void handshake_in_memory(SSL_CTX* context, const std::shared_ptr<const tls_identity>& identity) {
  tls_session server{identity};
  SSL* client = SSL_new(context);
  auto *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  SSL_set_bio(client, in, out);
  SSL_set_connect_state(client);
  for (bool done = false; !done;) {
    bool there = SSL_do_handshake(client) == 1;
    char* bytes = nullptr;
    auto size = BIO_get_mem_data(out, &bytes);
    server.receive({bytes, static_cast<size_t>(size)});
    BIO_reset(out);
    done = server.handshake() == tls_session::progress::done && there;
    std::string wire;
    server.take_wire(wire);
    BIO_write(in, wire.data(), static_cast<int>(wire.size()));
  }
  SSL_free(client);
}

} // namespace

int main(int, char** argv) {
  std::string folder = argv[1];
  auto pair = *load_or_make_server_certificate(folder, "bench.example");
  auto identity = *tls_identity::make(pair.certificate, pair.key, nullptr);
  auto body = std::make_shared<const std::string>(2048, 'x');
  loop on{"bench"};
  http_server server{on,
                     {},
                     folder,
                     [](const http_request&) { return body_rule{}; },
                     [body](const http_request&, const responder& answer) {
                       http_response reply;
                       reply.body.emplace_back(body);
                       answer.send(std::move(reply));
                     }};
  server.use_identity(identity);
  auto where = *parse_listen_addresses("127.0.0.1:" + std::to_string(port), port);
  if (!server.listen_tls(where.front()) || !server.listen_unix(folder + "/socket", 0600)) give_up("cannot listen");

  auto* context = SSL_CTX_new(TLS_client_method());
  char reply[8192];
  double over_tls = 0, over_unix = 0;
  {
    tls_client client{context};
    over_tls = rate([&] {
      SSL_write(client.session, request.data(), static_cast<int>(request.size()));
      for (int got = 0; got < 2048;) got += SSL_read(client.session, reply, sizeof reply);
    });
  }
  {
    auto client = connect_unix(folder + "/socket");
    over_unix = rate([&] {
      if (::write(client.get(), request.data(), request.size()) < 0) give_up("write");
      for (long got = 0; got < 2048;) got += ::read(client.get(), reply, sizeof reply);
    });
  }
  auto over_tcp = rate([&] { tls_client{context}; });
  auto in_memory = rate([&] { handshake_in_memory(context, identity); });
  SSL_CTX_free(context);
  std::printf("{\"requests_per_second\": {\"tls\": %.0f, \"unix_floor\": %.0f},\n"
              " \"handshakes_per_second\": {\"tcp\": %.0f, \"openssl_in_memory_floor\": %.0f}}\n",
              over_tls, over_unix, over_tcp, in_memory);
}
