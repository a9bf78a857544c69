#include "http_raw_client.hpp"

#include <atomic>
#include <fcntl.h>
#include <sys/stat.h>

using namespace troupe;
using namespace troupe::test;

namespace {

/// Answers with what was asked: "METHOD path body-size body".
http_response mirror(const http_request& request) {
  return text_reply(request.method + " " + request.path + " " + std::to_string(request.body.size()) + " " +
                    request.body);
}

void mirror_handler(http_request request, responder answer) { answer.send(mirror(request)); }

std::string post(std::string_view body, std::string_view more_headers = "") {
  return "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string{more_headers} + "\r\n" + std::string{body};
}

} // namespace

TEST_CASE("a kept-alive connection answers many requests") {
  server_fixture fixture{mirror_handler};
  raw_client client{fixture.path};
  for (int i = 0; i < 100; ++i) {
    auto got = ask(client, get);
    REQUIRE(got.status == 200);
    REQUIRE(got.body == "GET /1.0 0 ");
  }
  CHECK(ask(client, post("abc")).body == "POST /x 3 abc");
  CHECK(fixture.server->connections() == 1);
}

TEST_CASE("pipelined requests are answered in order, whoever is ready first") {
  server_fixture fixture{[](http_request request, responder answer) {
    if (request.path != "/later") return answer.send(mirror(request));
    std::thread{[made = std::make_shared<http_response>(mirror(request)), answer] {
      answer.send(std::move(*made));
    }}.detach();
  }};
  raw_client client{fixture.path};
  std::string all, expected;
  for (int i = 0; i < 1000; ++i) {
    auto path = i % 7 == 3 ? std::string{"/later"} : "/" + std::to_string(i);
    all += "GET " + path + " HTTP/1.1\r\n\r\n";
  }
  std::thread sender{[&] { client.send(all); }};
  for (int i = 0; i < 1000; ++i) {
    auto path = i % 7 == 3 ? std::string{"/later"} : "/" + std::to_string(i);
    REQUIRE(read_reply(client).body == "GET " + path + " 0 ");
  }
  sender.join();
}

TEST_CASE("bytes that come one at a time make the same request") {
  server_fixture fixture{mirror_handler};
  raw_client client{fixture.path};
  std::string request = "\r\nPOST /a%20b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "5;name=value\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n" +
                        post("second");
  for (char c : request) REQUIRE(client.send({&c, 1}));
  CHECK(read_reply(client).body == "POST /a%20b 6 hello!");
  CHECK(read_reply(client).body == "POST /x 6 second");
}

TEST_CASE("a chunked request body is decoded") {
  server_fixture fixture{mirror_handler};
  raw_client client{fixture.path};
  auto got =
      ask(client, "PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n");
  CHECK(got.body == "PUT /c 13 abc0123456789");
  CHECK(ask(client, get).status == 200);
}

TEST_CASE("what a pipe gives is sent chunked, and the connection goes on") {
  server_fixture fixture{[](http_request request, responder answer) {
    if (request.path != "/pipe") return answer.send(mirror(request));
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    http_response made{200, {}, {}};
    made.body.emplace_back(std::string{"head "});
    made.body.emplace_back(pipe_stream{unique_fd{ends[0]}});
    made.body.emplace_back(std::make_shared<const std::string>(" tail"));
    answer.send(std::move(made));
    std::thread{[out = ends[1]] {
      for (int i = 0; i < 2000; ++i) {
        std::string line(1000, static_cast<char>('a' + i % 26));
        for (size_t done = 0; done < line.size();) {
          auto put = ::write(out, line.data() + done, line.size() - done);
          if (put <= 0) break;
          done += static_cast<size_t>(put);
        }
      }
      ::close(out);
    }}.detach();
  }};
  raw_client client{fixture.path};
  auto got = ask(client, "GET /pipe HTTP/1.1\r\n\r\n");
  CHECK(got.has("Transfer-Encoding: chunked"));
  CHECK(got.body.size() == 2000 * 1000 + 10);
  CHECK(got.body.starts_with("head aaaa"));
  CHECK(got.body.ends_with(" tail"));
  CHECK(ask(client, get).status == 200);
  raw_client old{fixture.path};
  old.send("GET /pipe HTTP/1.0\r\n\r\n");
  auto head = old.take_through("\r\n\r\n");
  CHECK(head.find("chunked") == head.npos);
  CHECK(old.rest().size() == 2000 * 1000 + 10);
}

TEST_CASE("100 Continue is sent once the rule has accepted the body") {
  server_fixture fixture{mirror_handler, {}, [](const http_request&) { return body_rule{false, 10}; }};
  raw_client client{fixture.path};
  client.send("POST /x HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  CHECK(client.take_through("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  CHECK(ask(client, "12345").body == "POST /x 5 12345");
  CHECK(ask(client, "POST /x HTTP/1.1\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n").status == 413);
}

TEST_CASE("a body beyond the limit is answered 413 and the connection closed") {
  std::atomic<int> handled{0};
  server_fixture fixture{[&](http_request, responder) { ++handled; },
                         {},
                         [](const http_request&) {
                           return body_rule{false, 1000};
                         }};
  SECTION("announced") {
    raw_client client{fixture.path};
    auto got = ask(client, post(std::string(1001, 'x')));
    CHECK(got.status == 413);
    CHECK(got.has("Connection: close"));
    CHECK(got.body.find(R"("error_code":413)") != got.body.npos);
    CHECK(client.closed());
  }
  SECTION("found out while it comes, from a client that never stops sending") {
    raw_client client{fixture.path};
    client.send("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    std::thread sender{[&] {
      std::string chunk = "400\r\n" + std::string(1024, 'x') + "\r\n";
      for (int i = 0; i < 100 && client.send(chunk); ++i) {
      }
    }};
    CHECK(read_reply(client).status == 413);
    sender.join();
  }
  CHECK(handled == 0);
}

TEST_CASE("malformed requests get a clear 4xx or 5xx and lose the connection") {
  struct row {
    std::string bytes;
    int status;
  };
  const row rows[] = {
      {"rubbish\r\n\r\n", 400},
      {std::string("\x16\x03\x01\x00\xff", 5) + "\r\n\r\n", 400},
      {"GET /x HTTP/2.0\r\n\r\n", 505},
      {"GET /%zz HTTP/1.1\r\n\r\n", 400},
      {"GET /%00 HTTP/1.1\r\n\r\n", 400},
      {"GET /?a=%4 HTTP/1.1\r\n\r\n", 400},
      {"GET x HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400},
      {"GET / HTTP/1.1\r\nX: " + std::string(70000, 'a') + "\r\n\r\n", 431},
      {"GET /" + std::string(70000, 'a'), 431},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(70000, 'a'), 431},
  };
  server_fixture fixture{mirror_handler};
  for (auto& row : rows) {
    INFO(row.bytes.substr(0, 80));
    raw_client client{fixture.path};
    client.send(row.bytes);
    auto got = read_reply(client);
    CHECK(got.status == row.status);
    CHECK(got.body.find(R"("type":"error")") != got.body.npos);
    CHECK(client.closed());
  }
  std::string many = "GET / HTTP/1.1\r\n";
  while (many.size() < 70000) many += "X-Filler: yes\r\n";
  raw_client client{fixture.path};
  client.send(many);
  CHECK(read_reply(client).status == 431);
}

TEST_CASE("targets are split and decoded segment by segment") {
  http_request seen;
  server_fixture fixture{[&](http_request request, responder answer) {
    seen = std::move(request);
    answer.send(text_reply("ok"));
  }};
  raw_client client{fixture.path};
  REQUIRE(ask(client, "get /1.0/images/a%2Fb/c+d/?x=1&x=2&y=a+b%26&z HTTP/1.1\r\nX-Test:  v \r\n\r\n").status == 200);
  CHECK(seen.method == "GET");
  CHECK(seen.segments == std::vector<std::string>{"1.0", "images", "a/b", "c+d", ""});
  CHECK(seen.parameter("x") == "1");
  CHECK(seen.parameter("y") == "a b&");
  CHECK(seen.query.count("z") == 1);
  CHECK(seen.parameter("none").empty());
  CHECK(seen.header("x-TEST") == "v");
  CHECK(seen.peer.uid == getuid());
  CHECK(seen.peer.pid == getpid());
  REQUIRE(ask(client, "GET / HTTP/1.1\r\n\r\n").status == 200);
  CHECK(seen.segments.empty());
  REQUIRE(ask(client, "GET http://host:80/1.0 HTTP/1.1\r\n\r\n").status == 200);
  CHECK(seen.path == "/1.0");
}

TEST_CASE("HEAD, 204, closing and HTTP/1.0 are framed as they must be") {
  server_fixture fixture{[](http_request request, responder answer) {
    if (request.path == "/none") return answer.send({204, {}, {}});
    auto made = text_reply("12345");
    made.headers.emplace_back("Content-Disposition", "inline;filename=a\r\nX-Injected: yes");
    answer.send(std::move(made));
  }};
  raw_client client{fixture.path};
  client.send("HEAD / HTTP/1.1\r\n\r\n");
  CHECK(read_reply(client, true).has("Content-Length: 5"));
  client.send("GET /none HTTP/1.1\r\n\r\n");
  CHECK(!read_reply(client, true).has("Content-Length"));
  auto got = ask(client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  CHECK(got.has("Connection: keep-alive"));
  CHECK(!got.has("\r\nX-Injected"));
  CHECK(ask(client, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").has("Connection: close"));
  CHECK(client.closed());
  raw_client old{fixture.path};
  CHECK(ask(old, "GET / HTTP/1.0\r\n\r\n").body == "12345");
  CHECK(old.closed());
}

TEST_CASE("a dropped request is answered 500, the first answer wins") {
  server_fixture fixture{[](http_request request, responder answer) {
    if (request.path == "/drop") return;
    if (request.path == "/throw") throw std::runtime_error{"wanted by a test"};
    std::thread{[answer] {
      answer.send(text_reply("first"));
      answer.send(text_reply("second"));
    }}.detach();
  }};
  raw_client client{fixture.path};
  auto got = ask(client, "GET /drop HTTP/1.1\r\n\r\n");
  CHECK(got.status == 500);
  CHECK(got.body.find(R"("type":"error","status":"","status_code":0,"operation":"","error_code":500)") !=
        got.body.npos);
  CHECK(ask(client, "GET /throw HTTP/1.1\r\n\r\n").status == 500);
  for (int i = 0; i < 50; ++i) REQUIRE(ask(client, get).body == "first");
}

TEST_CASE("a client that goes away while it waits is noticed, one that only finished sending is answered") {
  std::promise<responder> asked;
  std::atomic<int> gone{0};
  server_fixture fixture{[&](http_request, responder answer) {
    answer.on_gone([&] { ++gone; });
    asked.set_value(answer);
  }};
  SECTION("away") {
    raw_client client{fixture.path};
    client.send(get);
    auto answer = asked.get_future().get();
    CHECK(!answer.gone());
    client.close();
    CHECK(eventually([&] { return gone == 1 && answer.gone(); }));
    answer.send(text_reply("nobody"));
    CHECK(eventually([&] { return fixture.server->connections() == 0; }));
  }
  SECTION("half closed") {
    raw_client client{fixture.path};
    client.send(get);
    client.end_sending();
    auto answer = asked.get_future().get();
    fixture.settle();
    answer.send(text_reply("here you are"));
    CHECK(read_reply(client).body == "here you are");
    CHECK(client.closed());
    CHECK(gone == 0);
  }
  SECTION("half closed, then away") {
    raw_client client{fixture.path};
    client.send(get);
    client.end_sending();
    auto answer = asked.get_future().get();
    fixture.settle();
    client.close();
    CHECK(eventually([&] { return gone == 1; }));
  }
  SECTION("the server ends first") {
    raw_client client{fixture.path};
    client.send(get);
    auto answer = asked.get_future().get();
    fixture.server.reset();
    CHECK(gone == 1);
    CHECK(client.closed());
    answer.send(text_reply("too late"));
  }
}

TEST_CASE("slow, idle and garbage clients do not delay another") {
  http_limits limits;
  limits.header_timeout = std::chrono::seconds{1};
  limits.idle_timeout = std::chrono::seconds{1};
  limits.body_timeout = std::chrono::seconds{1};
  server_fixture fixture{mirror_handler, limits};
  raw_client idle{fixture.path}, slow_head{fixture.path}, slow_body{fixture.path}, deaf{fixture.path};
  slow_head.send("GET /1.0 HTTP/1.1\r\nHo");
  slow_body.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nab");
  fcntl(deaf.fd(), F_SETFL, O_NONBLOCK);
  while (deaf.send(get)) {
  } // never reads an answer
  raw_client client{fixture.path};
  for (int i = 0; i < 100; ++i) REQUIRE(ask(client, get).status == 200);
  CHECK(read_reply(slow_head).status == 408);
  CHECK(read_reply(slow_body).status == 408);
  CHECK(idle.closed());
}

TEST_CASE("beyond the limit of connections the one that has been idle for longest makes room") {
  http_limits limits;
  limits.connections_max = 3;
  server_fixture fixture{mirror_handler, limits};
  raw_client first{fixture.path}, second{fixture.path}, third{fixture.path};
  for (auto* one : {&first, &second, &third}) REQUIRE(ask(*one, get).status == 200);
  second.send("GET / HTTP/1.1\r\nHo"); // a head that does not come is idleness
  raw_client fourth{fixture.path}, fifth{fixture.path};
  for (auto* one : {&fourth, &fifth, &third}) CHECK(ask(*one, get).status == 200);
  CHECK(first.closed());
  CHECK(second.closed());
}

TEST_CASE("beyond the limit of busy connections the next one is told so, and a place that is free is used") {
  http_limits limits;
  limits.connections_max = 3;
  std::vector<responder> waiting; // on the loop's thread
  std::atomic<int> busy = 0;
  server_fixture fixture{[&](http_request, responder answer) {
                           waiting.push_back(answer);
                           ++busy;
                         },
                         limits};
  raw_client first{fixture.path}, second{fixture.path};
  auto third = std::make_unique<raw_client>(fixture.path);
  for (auto* one : {&first, &second, third.get()}) one->send(get);
  REQUIRE(eventually([&] { return busy == 3; }));
  raw_client refused{fixture.path};
  CHECK(read_reply(refused).status == 503);
  CHECK(refused.closed());
  third.reset();
  CHECK(eventually([&] { return fixture.server->connections() == 2; }));
  raw_client again{fixture.path};
  again.send(get);
  CHECK(eventually([&] { return busy == 4; }));
}

TEST_CASE("a socket that is listened on is refused, a stale one replaced, a file kept") {
  server_fixture fixture{mirror_handler};
  http_server second{*fixture.on, {}, fixture.dir.path, [](auto&) { return body_rule{}; }, mirror_handler};
  auto taken = second.listen_unix(fixture.path, 0660);
  REQUIRE(!taken);
  CHECK(taken.error().code == fault::in_use);

  auto stale = fixture.dir.path + "/stale";
  {
    unique_fd dead{::socket(AF_UNIX, SOCK_STREAM, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strcpy(address.sun_path, stale.c_str());
    REQUIRE(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  REQUIRE(second.listen_unix(stale, 0600));
  struct stat found {};
  REQUIRE(stat(stale.c_str(), &found) == 0);
  CHECK((found.st_mode & 0777) == 0600);
  raw_client client{stale};
  CHECK(ask(client, get).status == 200);
  second.stop_listening();
  CHECK(!std::filesystem::exists(stale));
  CHECK(ask(client, get).status == 200);

  auto file = fixture.dir.path + "/file";
  std::ofstream{file} << "precious";
  CHECK(!second.listen_unix(file, 0600));
  CHECK(std::filesystem::file_size(file) == 8);
  CHECK(!second.listen_unix("/tmp/" + std::string(200, 'x'), 0600));
}

TEST_CASE("who is disconnected from a unix socket is gone at once, and nobody else") {
  server_fixture fixture{mirror_handler};
  auto second = fixture.dir.path + "/other";
  REQUIRE(fixture.server->listen_unix(second, 0660));
  raw_client here{fixture.path}, there{second};
  REQUIRE(ask(here, get).status == 200);
  REQUIRE(ask(there, get).status == 200);
  fixture.server->disconnect([&](const http_peer& peer) { return peer.socket == fixture.path; });
  CHECK(here.closed());
  CHECK(ask(there, get).status == 200);
}
