#include "websocket_raw_client.hpp"

using namespace troupe;
using namespace troupe::test;

TEST_CASE("the handshake is that of the RFC, and other requests are refused") {
  ws_fixture fixture{echo};
  ws_client client{fixture.http.path};
  CHECK(client.head.starts_with("HTTP/1.1 101 "));
  CHECK(client.head.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") != std::string::npos);
  CHECK(client.head.find("Sec-WebSocket-Protocol") == std::string::npos);
  raw_client plain{fixture.http.path};
  CHECK(ask(plain, get).status == 400);
  for (std::string_view bad : {"Sec-WebSocket-Key: c2hvcnQ=\r\nSec-WebSocket-Version: 13\r\n",
                               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n"})
    CHECK(ask(plain, "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + std::string{bad} + "\r\n")
              .status == 400);
}

TEST_CASE("messages of every size come back, joined from their fragments") {
  ws_fixture fixture{echo};
  ws_client client{fixture.http.path};
  for (size_t size : {0, 1, 125, 126, 65535, 65536, 3000000}) {
    std::string data(size, 'd');
    std::thread sender{[&] { client.send_frame(2, data); }};
    auto got = client.next();
    sender.join();
    CHECK(got.opcode == 2);
    CHECK(got.final);
    REQUIRE(got.data == data);
  }
  client.send_frame(1, "frag", false);
  client.send_frame(9, "between"); // control frames may come between fragments
  client.send_frame(0, "men", false);
  client.send_frame(0, "ts");
  auto pong = client.next();
  CHECK(pong.opcode == 10);
  CHECK(pong.data == "between");
  auto got = client.next();
  CHECK(got.opcode == 1);
  CHECK(got.data == "fragments");
}

TEST_CASE("what comes before on_message is set is kept, also from behind the handshake") {
  ws_fixture fixture;
  ws_client client{fixture.http.path};
  client.send_frame(2, "one");
  client.send_frame(2, "two");
  client.send_frame(8, "");
  auto socket = fixture.at(0);
  CHECK(client.next().opcode == 8);
  std::promise<void> both;
  std::string all;
  socket->on_message([&](std::string data, bool) {
    all += data;
    if (all == "onetwo") both.set_value();
  });
  CHECK(both.get_future().wait_for(std::chrono::seconds{20}) == std::future_status::ready);
}

TEST_CASE("either side closes properly, and an abrupt end is no error") {
  std::atomic<int> closed{0};
  ws_fixture fixture{[&](const std::shared_ptr<websocket>& socket) {
    echo(socket);
    socket->on_close([&] { ++closed; });
  }};
  ws_client client{fixture.http.path};
  auto socket = fixture.at(0);
  SECTION("the peer closes") {
    client.send_frame(8, std::string("\x03\xe8", 2));
    CHECK(close_code(client.next()) == 1000);
    CHECK(client.closed());
  }
  SECTION("we close, after what was sent") {
    for (int i = 0; i < 100; ++i) socket->send_text(std::make_shared<const std::string>(std::to_string(i)));
    socket->close(1001);
    CHECK(!socket->send_binary("too late"));
    for (int i = 0; i < 100; ++i) REQUIRE(client.next().data == std::to_string(i));
    CHECK(close_code(client.next()) == 1001);
    CHECK(closed == 0);
    client.send_frame(8, std::string("\x03\xe9", 2));
    CHECK(client.closed());
  }
  SECTION("the peer vanishes") { client.close(); }
  SECTION("the server ends") { fixture.http.server.reset(); }
  CHECK(eventually([&] { return closed == 1; }));
  CHECK(!socket->send_binary("x"));
  std::promise<void> again;
  socket->on_close([&] { again.set_value(); });
  if (fixture.http.server) CHECK(again.get_future().wait_for(std::chrono::seconds{20}) == std::future_status::ready);
}

TEST_CASE("a peer that breaks the rules is told why and closed") {
  auto limits = quiet();
  limits.websocket_message_bytes = 1000;
  ws_fixture fixture{echo, limits};
  ws_client client{fixture.http.path};
  SECTION("unmasked") {
    client.send_frame(2, "x", true, false);
    CHECK(close_code(client.next()) == 1002);
  }
  SECTION("reserved opcode") {
    client.send_frame(5, "x");
    CHECK(close_code(client.next()) == 1002);
  }
  SECTION("text that is no UTF-8") {
    client.send_frame(1, "\xff\xfe");
    CHECK(close_code(client.next()) == 1007);
  }
  SECTION("a frame too large") {
    client.send_frame(2, std::string(1001, 'x'));
    CHECK(close_code(client.next()) == 1009);
  }
  SECTION("fragments too large together") {
    for (int i = 0; i < 11; ++i) client.send_frame(i ? 0 : 2, std::string(100, 'x'), false);
    CHECK(close_code(client.next()) == 1009);
  }
  CHECK(client.closed());
}

TEST_CASE("pings come with their payload, and a peer that reads them but never answers is dropped") {
  http_limits limits;
  limits.ping_period = std::chrono::seconds{1};
  std::atomic<int> closed{0};
  ws_fixture fixture{[&](const std::shared_ptr<websocket>& socket) { socket->on_close([&] { ++closed; }); }, limits};
  ws_client good{fixture.http.path}, mute{fixture.http.path};
  int seen = 0;
  for (auto got = mute.next(); got.opcode == 9; got = mute.next()) {
    CHECK(got.data == "keepalive");
    ++seen;
    auto ping = good.next();
    REQUIRE(ping.opcode == 9);
    good.send_frame(10, ping.data);
  }
  CHECK(seen == 3);
  CHECK(eventually([&] { return closed == 1; }));
  CHECK(good.next().opcode == 9);
}

TEST_CASE("many small messages from another thread arrive in order and in few reads") {
  ws_fixture fixture;
  ws_client client{fixture.http.path};
  auto socket = fixture.at(0);
  constexpr int count = 20000;
  std::promise<void> released;
  fixture.http.on->post([&] { released.get_future().wait(); }); // the loop is busy: what is sent now must be coalesced
  for (int i = 0; i < count; ++i) REQUIRE(socket->send_text(std::make_shared<const std::string>(std::to_string(i))));
  released.set_value();
  int reads = 0;
  std::string all;
  size_t expected = 0;
  for (int i = 0; i < count; ++i) expected += std::to_string(i).size() + 2;
  char bytes[65536];
  while (all.size() < expected) {
    auto got = ::recv(client.fd(), bytes, sizeof bytes, 0);
    REQUIRE(got > 0);
    all.append(bytes, static_cast<size_t>(got));
    ++reads;
  }
  CHECK(reads < count / 10);
  size_t at = 0;
  for (int i = 0; i < count; ++i) {
    auto size = static_cast<size_t>(all[at + 1]);
    REQUIRE(all.substr(at + 2, size) == std::to_string(i));
    at += 2 + size;
  }
  CHECK(eventually([&] { return socket->queued_bytes() == 0; }));
}

TEST_CASE("a full queue closes the slow reader only") {
  auto limits = quiet();
  limits.websocket_queue_bytes = 1 << 20;
  ws_fixture fixture{{}, limits};
  ws_client slow{fixture.http.path}, fast{fixture.http.path};
  auto first = fixture.at(0), second = fixture.at(1);
  std::atomic<int> closed{0};
  first->on_close([&] { ++closed; });
  second->on_close([&] { ++closed; });
  fixture.http.settle();
  auto event = std::make_shared<const std::string>(std::string(10000, 'e'));
  bool overflowed = false;
  for (int i = 0; i < 1000; ++i) {
    if (!first->send_text(event)) overflowed = true;
    REQUIRE(second->send_text(event));
    REQUIRE(fast.next().data == *event);
  }
  CHECK(overflowed);
  CHECK(eventually([&] { return closed == 1; }));
  CHECK(second->send_text(event));
  CHECK(fast.next().data == *event);
}

TEST_CASE("on_drain tells when the queue is low again") {
  ws_fixture fixture;
  ws_client client{fixture.http.path};
  auto socket = fixture.at(0);
  std::atomic<int> drained{0};
  socket->on_drain([&] { ++drained; });
  fixture.http.settle();
  socket->send_binary(std::string(1000, 'x'));
  REQUIRE(client.next().data.size() == 1000);
  CHECK(drained == 0);
  std::promise<void> released;
  fixture.http.on->post([&] { released.get_future().wait(); }); // so that all of it is queued before any is sent
  for (int i = 0; i < 30; ++i) socket->send_binary(std::string(100000, 'x'));
  CHECK(socket->queued_bytes() > websocket::low_water_bytes);
  released.set_value();
  fixture.http.settle();
  CHECK(drained == 0);
  for (int i = 0; i < 30; ++i) REQUIRE(client.next().data.size() == 100000);
  CHECK(eventually([&] { return drained == 1; }));
}

TEST_CASE("a paused websocket makes the peer wait and loses nothing") {
  std::atomic<size_t> received{0};
  ws_fixture fixture{[&](const std::shared_ptr<websocket>& socket) {
    socket->on_message([&](std::string data, bool) { received += data.size(); });
    socket->pause(true);
  }};
  ws_client client{fixture.http.path};
  auto socket = fixture.at(0);
  fixture.http.settle();
  std::thread sender{[&] {
    for (int i = 0; i < 100; ++i) client.send_frame(2, std::string(100000, 'x'));
  }};
  pollfd full{client.fd(), POLLOUT, 0};
  CHECK(eventually([&] { return poll(&full, 1, 0) == 0; }));
  CHECK(received == 0);
  socket->pause(false);
  sender.join();
  CHECK(eventually([&] { return received == 100 * 100000; }));
}
