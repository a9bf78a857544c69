#include "gateway/trust.hpp"
#include "tls_raw_client.hpp"

using namespace troupe;
using namespace troupe::test;

namespace {

constexpr std::string_view line = "STARTTLS\n";
constexpr auto question = test::get; // the name has another meaning among what trust needs

/// What the server knows of who asks: "UID ADDRESS SOCKET FINGERPRINT".
void tell_peer(http_request request, responder answer) {
  auto& peer = request.peer;
  answer.send(text_reply(std::to_string(peer.uid) + " " + peer.address + " " + peer.socket + " " +
                         (peer.shown ? peer.shown->fingerprint : "")));
}

/// A server whose identity comes from another thread, as the daemon's does.
struct starttls_fixture : server_fixture {
  key_pair pair = *load_or_make_server_certificate(dir.path, "test.example");
  std::shared_ptr<const tls_identity> identity = *tls_identity::make(pair.certificate, pair.key, nullptr);

  explicit starttls_fixture(http_server::handler handle = tell_peer, http_limits limits = {})
      : server_fixture{std::move(handle), limits} {
    server->offer_starttls([as = identity](auto answer) { std::thread{[=] { answer(as); }}.detach(); });
  }
  unique_fd connect() const { return raw_client{path}.let_go(); }
};

void send_all(int fd, std::string_view bytes) {
  REQUIRE(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
}

void in_one_packet(int fd, std::string_view hello) { send_all(fd, std::string{line} + std::string{hello}); }

void line_first(int fd, std::string_view hello) {
  send_all(fd, line);
  send_all(fd, hello);
}

void byte_by_byte(int fd, std::string_view hello) {
  for (auto byte : std::string{line} + std::string{hello}) {
    send_all(fd, {&byte, 1});
    std::this_thread::yield();
  }
}

struct client_key {
  scratch_dir dir;
  key_pair pair = *load_or_make_server_certificate(dir.path, "client.example");
  std::string fingerprint = parse_certificate(pair.certificate)->fingerprint;
};

} // namespace

TEST_CASE("behind STARTTLS the caller is who his certificate says, and not the socket's peer") {
  starttls_fixture fixture;
  client_key own;
  for (auto begin : {in_one_packet, line_first, byte_by_byte}) {
    tls_client client{fixture.connect(), &own.pair, begin};
    REQUIRE(client.shaken());
    for (int i = 0; i < 3; ++i) CHECK(client.ask(question).body == "4294967295 @  " + own.fingerprint);
  }
  tls_client nobody{fixture.connect(), nullptr, in_one_packet};
  CHECK(nobody.ask(question).body == "4294967295 @  ");
  CHECK(eventually([&] { return fixture.server->connections() == 1; }));
}

TEST_CASE("plain HTTP on a socket with STARTTLS is what it was") {
  starttls_fixture fixture;
  auto me = std::to_string(getuid()) + "  " + fixture.path + " ";
  raw_client client{fixture.path};
  for (int i = 0; i < 3; ++i) CHECK(ask(client, question).body == me);
  CHECK(ask(client, "STARTTLS\nGET / HTTP/1.1\r\n\r\n").status == 400); // first bytes only
  raw_client pipelined{fixture.path};
  pipelined.send(std::string{question} + std::string{question});
  CHECK(read_reply(pipelined).body == me);
  CHECK(read_reply(pipelined).body == me);
  raw_client ended{fixture.path};
  ended.send(question);
  ended.end_sending();
  CHECK(read_reply(ended).body == me);
  raw_client alike{fixture.path}; // a method that begins so
  alike.send("STAR");
  fixture.settle();
  CHECK(ask(alike, "E / HTTP/1.1\r\nHost: a\r\n\r\n").body == me);
}

TEST_CASE("what is no handshake behind STARTTLS is closed, and never taken for HTTP") {
  http_limits limits;
  limits.handshake_timeout = limits.header_timeout = std::chrono::seconds{1};
  starttls_fixture fixture{tell_peer, limits};
  for (auto bytes : {std::string{question}, std::string(5000, '\0'), std::string{"\x16\x03\x01"}, std::string{}}) {
    raw_client raw{fixture.path};
    raw.send(std::string{line} + bytes);
    CHECK(raw.rest().find("HTTP") == std::string::npos);
  }
  raw_client half{fixture.path};
  half.send("STARTT");
  CHECK(half.closed());
  raw_client ended{fixture.path};
  ended.send("STARTT");
  ended.end_sending();
  CHECK(ended.closed());
  CHECK(eventually([&] { return fixture.server->connections() == 0; }));
}

TEST_CASE("without an identity, and where it is not offered, there is no STARTTLS") {
  starttls_fixture without;
  without.server->offer_starttls([](auto answer) { answer(nullptr); });
  raw_client closed{without.path};
  closed.send(line);
  CHECK(closed.closed());
  server_fixture plain{tell_peer};
  raw_client refused{plain.path};
  CHECK(ask(refused, "STARTTLS\n\r\n\r\n").status == 400);
}

TEST_CASE("a connection by STARTTLS counts for its user, and is cut by its certificate") {
  http_limits limits;
  limits.connections_per_host = 2;
  starttls_fixture fixture{tell_peer, limits};
  client_key own, others;
  tls_client mine{fixture.connect(), &own.pair, in_one_packet};
  tls_client other{fixture.connect(), &others.pair, in_one_packet};
  CHECK(mine.ask(question).status == 200);
  CHECK(other.ask(question).status == 200);
  fixture.server->disconnect(
      [&](const http_peer& peer) { return peer.shown && peer.shown->fingerprint == own.fingerprint; });
  CHECK(mine.take(1).empty());
  CHECK(other.ask(question).status == 200);
  raw_client third{fixture.path}, fourth{fixture.path}; // the place of the first, and of who is idle for longest
  CHECK(ask(third, question).status == 200);
  CHECK(other.take(1).empty());
  CHECK(ask(fourth, question).status == 200);
}

TEST_CASE("an identity that comes when everything has ended is nobody's") {
  auto kept = std::make_shared<std::promise<std::function<void(std::shared_ptr<const tls_identity>)>>>();
  std::function<void(std::shared_ptr<const tls_identity>)> answer;
  std::shared_ptr<const tls_identity> identity;
  {
    starttls_fixture fixture;
    identity = fixture.identity;
    fixture.server->offer_starttls([kept](auto then) { kept->set_value(then); });
    raw_client waiting{fixture.path};
    waiting.send(line);
    answer = kept->get_future().get();
  }
  answer(identity);
}

TEST_CASE("trust behind STARTTLS never falls back to the rights of the socket's peer") {
  scratch_dir dir;
  auto opened = store::open(dir.path, "m1");
  REQUIRE(opened);
  starttls_fixture fixture{[&db = **opened](http_request request, responder answer) {
    auto found = caller_of(request.peer, db.read());
    answer.send(text_reply(found.who.protocol + " " + found.who.username + " " +
                           std::to_string(static_cast<int>(found.who.level)) + " " + found.doubt));
  }};
  auto none = std::to_string(static_cast<int>(trust::none));
  client_key own;
  tls_client nobody{fixture.connect(), nullptr, in_one_packet}, stranger{fixture.connect(), &own.pair, in_one_packet};
  CHECK(nobody.ask(question).body == "tls  " + none + " ");
  auto judged = stranger.ask(question).body; // with the reason
  CHECK(judged.starts_with("tls  " + none + " "));
  CHECK(judged.size() > 8);
  raw_client peer{fixture.path};
  CHECK(ask(peer, question).body.starts_with("unix "));
}
