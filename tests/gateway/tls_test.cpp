#include "tls_raw_client.hpp"

#include "gateway/proxy_header.hpp"
#include "runtime/certificate.hpp"

#include <fcntl.h>
#include <future>
#include <random>

using namespace troupe;
using namespace troupe::test;

namespace {

void mirror(http_request request, responder answer) {
  answer.send(text_reply(request.method + " " + request.path + " " + std::to_string(request.body.size())));
}

std::string post(size_t size) {
  return "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" + std::string(size, 'b');
}

} // namespace

TEST_CASE("HTTP within TLS: keep-alive, large bodies both ways") {
  constexpr size_t large = 20 << 20;
  tls_fixture fixture{[](http_request request, responder answer) {
    if (request.path == "/large") return answer.send(text_reply(std::string(large, 'x')));
    mirror(std::move(request), answer);
  }};
  tls_client client{fixture.port()};
  REQUIRE(client.shaken());
  for (int i = 0; i < 100; ++i) REQUIRE(client.ask(get).body == "GET /1.0 0");
  CHECK(client.ask(post(large)).body == "POST /x " + std::to_string(large));
  auto got = client.ask("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(got.body.size() == large);
  CHECK(got.body.find_first_not_of('x') == std::string::npos);
  CHECK(fixture.server->connections() == 1);
}

TEST_CASE("a reply from a file that nobody reads waits, and costs no memory") {
  tls_fixture fixture{[](http_request, responder answer) {
    http_response out;
    unique_fd zeros{open("/dev/zero", O_RDONLY | O_CLOEXEC)};
    out.body.emplace_back(file_range{std::move(zeros), 0, 1ull << 40});
    answer.send(std::move(out));
  }};
  tls_client client{fixture.port()};
  client.send(get);
  CHECK(client.take(1 << 20).size() == 1 << 20);
  tls_client other{fixture.port()}; // the loop goes on meanwhile
  other.send(get);
  CHECK(other.take(1 << 20).size() == 1 << 20);
}

TEST_CASE("the peer is known by its certificate") {
  auto shown = std::make_shared<std::promise<std::string>>();
  tls_fixture fixture{[shown](http_request request, responder answer) {
    shown->set_value(request.peer.shown ? request.peer.shown->fingerprint : "");
    mirror(std::move(request), answer);
  }};
  scratch_dir dir;
  auto own = *load_or_make_server_certificate(dir.path, "client.example");
  tls_client client{fixture.port(), &own};
  client.ask(get);
  CHECK(shown->get_future().get() == parse_certificate(own.certificate)->fingerprint);
}

TEST_CASE("versions before TLS 1.3 are refused, and there is nothing to renegotiate") {
  tls_fixture fixture{mirror};
  CHECK_FALSE(tls_client{fixture.port(), nullptr, TLS1_2_VERSION}.shaken());
  tls_client client{fixture.port()};
  CHECK(SSL_renegotiate(client.session()) == 0);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(SSL_key_update(client.session(), SSL_KEY_UPDATE_REQUESTED) == 1);
    CHECK(client.ask(get).status == 200);
  }
}

TEST_CASE("a flood of new keys ends the connection") {
  tls_fixture fixture{mirror};
  tls_client client{fixture.port()};
  bool alive = true;
  for (int i = 0; i < 1000 && alive; ++i) {
    alive = SSL_key_update(client.session(), SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(client.session()) == 1;
  }
  CHECK(client.take(1).empty());
  CHECK(tls_client{fixture.port()}.ask(get).status == 200);
}

TEST_CASE("garbage, plain HTTP and half a handshake end the connection and nothing else") {
  http_limits limits;
  limits.handshake_timeout = std::chrono::seconds{1};
  tls_fixture fixture{mirror, limits};
  for (auto bytes : {std::string{"GET / HTTP/1.1\r\n\r\n"}, std::string(5000, '\0'), std::string{"\x16\x03\x01"}}) {
    auto raw = connect_tcp(fixture.port());
    ::send(raw.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    CHECK(sees_end(raw.get()));
  }
  auto silent = connect_tcp(fixture.port());
  CHECK(sees_end(silent.get()));
  CHECK(tls_client{fixture.port()}.ask(get).status == 200);
  CHECK(eventually([&] { return fixture.server->connections() == 0; }));
}

TEST_CASE("a client that ends its side is gone") {
  auto gone = std::make_shared<std::promise<void>>();
  tls_fixture fixture{
      [gone](http_request, responder answer) { answer.on_gone([gone, answer] { gone->set_value(); }); }};
  tls_client client{fixture.port()};
  client.send(get);
  SSL_shutdown(client.session());
  gone->get_future().wait();
  CHECK(eventually([&] { return fixture.server->connections() == 0; }));
}

TEST_CASE("a host has only so many connections, and the one that has been idle for longest makes room") {
  http_limits limits;
  limits.connections_per_host = 2;
  tls_fixture fixture{mirror, limits};
  tls_client first{fixture.port()}, second{fixture.port()};
  REQUIRE(second.shaken());
  CHECK(first.ask(get).status == 200);
  CHECK(second.ask(get).status == 200);
  CHECK(tls_client{fixture.port()}.ask(get).status == 200);
  CHECK(first.take(1).empty());
  CHECK(second.ask(get).status == 200);
}

TEST_CASE("a host whose connections are all busy gets no more of them") {
  auto waiting = std::make_shared<std::promise<responder>>();
  http_limits limits;
  limits.connections_per_host = 1;
  tls_fixture fixture{[waiting](http_request, responder answer) { waiting->set_value(answer); }, limits};
  tls_client busy{fixture.port()};
  busy.send(get);
  auto answer = waiting->get_future().get();
  CHECK_FALSE(tls_client{fixture.port()}.shaken());
  answer.send(text_reply("ok"));
  CHECK(busy.ask("").body == "ok");
}

// The first flight of a client, as bytes.
std::string client_hello() {
  auto* context = SSL_CTX_new(TLS_client_method());
  auto* session = SSL_new(context);
  SSL_set_bio(session, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(session);
  SSL_do_handshake(session);
  char* bytes = nullptr;
  auto size = BIO_get_mem_data(SSL_get_wbio(session), &bytes);
  std::string out(bytes, static_cast<size_t>(size));
  SSL_free(session);
  SSL_CTX_free(context);
  return out;
}

TEST_CASE("handshakes of random, broken and cut bytes end alone") {
  http_limits limits;
  limits.handshake_timeout = std::chrono::seconds{1};
  tls_fixture fixture{mirror, limits};
  auto hello = client_hello();
  REQUIRE(hello.size() > 100);
  std::random_device seed;
  auto number = seed();
  CAPTURE(number);
  std::mt19937 random{number};
  std::vector<unique_fd> open;
  for (int i = 0; i < 300; ++i) {
    auto bytes = hello;
    switch (i % 3) {
      case 0:
        for (auto& c : bytes) c = static_cast<char>(random());
        break;
      case 1:
        for (int flips = 0; flips < 8; ++flips) bytes[random() % bytes.size()] ^= static_cast<char>(1 + random() % 255);
        break;
      default:
        bytes.resize(random() % bytes.size());
    }
    auto raw = connect_tcp(fixture.port());
    ::send(raw.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    open.push_back(std::move(raw));
  }
  CHECK(tls_client{fixture.port()}.ask(get).status == 200);
  for (auto& one : open) CHECK(sees_end(one.get())); // at the latest by the time-out of handshakes
  CHECK(eventually([&] { return fixture.server->connections() == 0; }));
}

TEST_CASE("what is no record after the handshake ends the connection") {
  tls_fixture fixture{mirror};
  tls_client client{fixture.port()};
  REQUIRE(client.ask(get).status == 200);
  std::string garbage(4096, '\x55');
  ::send(SSL_get_fd(client.session()), garbage.data(), garbage.size(), MSG_NOSIGNAL);
  CHECK(client.take(1).empty());
  CHECK(tls_client{fixture.port()}.ask(get).status == 200);
}

TEST_CASE("there is no early data, and nothing to resume with") {
  tls_fixture fixture{mirror};
  tls_client client{fixture.port()};
  REQUIRE(client.ask(get).status == 200);
  auto* session = SSL_get1_session(client.session());
  CHECK(SSL_SESSION_get_max_early_data(session) == 0);
  CHECK_FALSE(SSL_SESSION_has_ticket(session));
  SSL_SESSION_free(session);
}

TEST_CASE("a websocket within TLS carries messages both ways, and ends when its peer is unwelcome") {
  auto closed = std::make_shared<std::promise<void>>();
  tls_fixture fixture{[closed](http_request, responder answer) {
    answer.accept_websocket([closed](std::shared_ptr<websocket> socket) {
      auto* s = socket.get();
      socket->on_message([s](std::string data, bool) { s->send_binary(std::move(data)); });
      socket->on_close([closed, socket] { closed->set_value(); });
    });
  }};
  tls_client client{fixture.port()};
  client.send("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  CHECK(client.take_through("\r\n\r\n").starts_with("HTTP/1.1 101"));
  client.send(std::string{"\x82\x83\0\0\0\0abc", 9}); // masked with zeros
  CHECK(client.take(5) == std::string{"\x82\x03"
                                      "abc"});
  fixture.server->disconnect([](const http_peer&) { return true; });
  closed->get_future().wait();
  CHECK(client.take(1).empty());
}

TEST_CASE("who asked for a change still gets its answer when he becomes unwelcome by it") {
  auto waiting = std::make_shared<std::promise<responder>>();
  tls_fixture fixture{[waiting](http_request request, responder answer) {
    request.method == "DELETE" ? waiting->set_value(answer) : answer.send(text_reply("ok"));
  }};
  tls_client client{fixture.port()};
  client.send("DELETE /me HTTP/1.1\r\nHost: a\r\n\r\n");
  auto answer = waiting->get_future().get();
  fixture.server->disconnect([](const http_peer&) { return true; });
  answer.send(text_reply("done"));
  CHECK(client.ask("").body == "done");
  CHECK(client.take(1).empty());
}

TEST_CASE("listeners overlap only with our own") {
  tls_fixture fixture{mirror};
  auto all = parse_listen_addresses(":" + std::to_string(fixture.port()), 1)->front();
  REQUIRE(fixture.server->listen_tls(all));
  fixture.server->stop_listening(fixture.address.text);
  CHECK(tls_client{fixture.port()}.ask(get).status == 200);
  tls_fixture other{mirror};
  auto refused = other.server->listen_tls(all);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == fault::in_use);
}

TEST_CASE("a new identity is for new connections") {
  tls_fixture fixture{mirror};
  tls_client before{fixture.port()};
  scratch_dir dir;
  auto pair = *load_or_make_server_certificate(dir.path, "new.example");
  fixture.server->use_identity(*tls_identity::make(pair.certificate, pair.key, nullptr));
  CHECK(before.ask(get).status == 200);
  tls_client after{fixture.port()};
  auto* shown = SSL_get1_peer_certificate(after.session());
  char name[256] = {};
  X509_NAME_oneline(X509_get_subject_name(shown), name, sizeof name);
  X509_free(shown);
  CHECK(std::string{name}.find("new.example") != std::string::npos);
}

TEST_CASE("a trusted proxy speaks for others, and nobody else does") {
  auto from = std::make_shared<std::string>();
  tls_fixture fixture{[from](http_request request, responder answer) {
    *from = request.peer.address;
    answer.send(text_reply("ok"));
  }};
  auto raw = connect_tcp(fixture.port());
  std::string_view header = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
  ::send(raw.get(), header.data(), header.size(), MSG_NOSIGNAL);
  CHECK(sees_end(raw.get())); // no handshake begins like this
  fixture.server->trust_proxies({"127.0.0.1"});
  CHECK(tls_client{fixture.port()}.ask(get).status == 200); // the header is not required
  CHECK(from->starts_with("127.0.0.1:"));
}

TEST_CASE("PROXY headers") {
  using kind = proxy_header::kind;
  struct row {
    std::string bytes;
    kind state;
    std::string address;
  };
  std::string v2{"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\x1f\x90\0\x50rest", 32};
  for (auto& [bytes, state, address] : {
           row{"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nrest", kind::complete, "192.0.2.1:56324"},
           row{"PROXY TCP6 2001:db8::1 ::1 1 443\r\n", kind::complete, "[2001:db8::1]:1"},
           row{"PROXY UNKNOWN\r\n", kind::complete, ""},
           row{"PROXY TCP4 192.0.2.1", kind::more, ""},
           row{"PRO", kind::more, ""},
           row{"PROXY TCP4 nobody 192.0.2.2 1 2\r\n", kind::broken, ""},
           row{"PROXY " + std::string(200, 'x'), kind::broken, ""},
           row{"\x16\x03\x01", kind::complete, ""},
           row{v2, kind::complete, "192.0.2.1:8080"},
           row{v2.substr(0, 20), kind::more, ""},
       }) {
    auto got = parse_proxy_header(bytes);
    INFO(bytes);
    CHECK(got.state == state);
    CHECK(got.address == address);
  }
}

TEST_CASE("addresses to listen on") {
  auto text = [](std::string_view list) {
    std::string out;
    auto parsed = parse_listen_addresses(list, 8443);
    if (!parsed) return std::string{"refused"};
    for (auto& one : *parsed) out += one.text + " ";
    return out;
  };
  CHECK(text("") == "");
  CHECK(text(":8443") == "[::]:8443 ");
  CHECK(text("10.0.0.1, [::1]:9") == "10.0.0.1:8443 [::1]:9 ");
  CHECK(text("fd00::1") == "[fd00::1]:8443 ");
  CHECK(text("[::]") == "[::]:8443 ");
  for (auto bad : {"name:1", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:70000", ",", "1.2.3.4,", "[::1", "1.2.3.4,1.2.3.4:8443"})
    CHECK(text(bad) == "refused");
}

TEST_CASE("the server's certificate is made once and kept") {
  scratch_dir dir;
  auto made = *load_or_make_server_certificate(dir.path, "host.example");
  CHECK(load_or_make_server_certificate(dir.path, "other.example")->certificate == made.certificate);
  auto parsed = *parse_certificate(made.certificate);
  CHECK(parsed.dns_names == std::vector<std::string>{"host.example"});
  CHECK(parsed.strong);
  CHECK_FALSE(judge_client_certificate(parsed, parsed.valid_from + 1)); // it is a server's
  std::filesystem::remove(dir.path + "/server.key");
  CHECK_FALSE(load_or_make_server_certificate(dir.path, "host.example"));
}
