#include "cli/server.hpp"

#include "fake_server.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>

using namespace troupe;
using namespace troupe::test;
using nlohmann::json;

TEST_CASE("a reply in pieces and in chunks is read whole", "[cli]") {
  fake_server fake{[](const seen_request&) {
    return std::string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                       "chunked\r\n\r\n5\r\n{\"typ\r\n1b\r\ne\":\"sync\",\"metadata\":[1,2]}\r\n0\r\n\r\n"};
  }};
  auto got = server{fake.dir()}.get("/1.0");
  REQUIRE(got);
  CHECK(*got == json({1, 2}));
}

TEST_CASE("an error envelope becomes an error with its sentence", "[cli]") {
  fake_server fake{[](const seen_request&) { return refused(404, "Image not found"); }};
  auto got = server{fake.dir()}.get("/1.0/images/x");
  REQUIRE_FALSE(got);
  CHECK(got.error().code == fault::not_found);
  CHECK(got.error().message == "Image not found");
}

TEST_CASE("a reply that is no JSON is an error, not a crash", "[cli]") {
  fake_server fake{[](const seen_request& r) {
    return r.target == "/a"   ? "HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\noops"
           : r.target == "/b" ? "garbage\r\n\r\n"
                              : "";
  }};
  server daemon{fake.dir()};
  for (auto* target : {"/a", "/b", "/c"}) CHECK_FALSE(daemon.get(target));
}

TEST_CASE("a change waits for its operation and reports its failure", "[cli]") {
  std::string problem;
  fake_server fake{[&](const seen_request& r) {
    if (r.method == "POST")
      return reply(202,
                   {{"type", "async"}, {"operation", "/1.0/operations/7?project=x"}, {"metadata", json::object()}});
    return sync({{"id", "7"}, {"status_code", problem.empty() ? 200 : 400}, {"err", problem}});
  }};
  server daemon{fake.dir()};
  auto done = daemon.change("POST", "/1.0/instances", {{"name", "c1"}});
  REQUIRE(done);
  CHECK((*done)["id"] == "7");
  CHECK(fake.seen().at(0).body == R"({"name":"c1"})");
  CHECK(fake.seen().at(1).target == "/1.0/operations/7/wait");
  problem = "No space left";
  done = daemon.change("POST", "/1.0/instances", {{"name", "c2"}});
  REQUIRE_FALSE(done);
  CHECK(done.error().message == "No space left");
}

TEST_CASE("files are streamed between texts with one length", "[cli]") {
  fake_server fake{[](const seen_request&) { return sync(nullptr); }};
  unique_fd file{::open((fake.dir() + "/f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  std::string content(3'000'000, 'x');
  REQUIRE(::write(file.get(), content.data(), content.size()) == 3'000'000);
  http_call call{.method = "POST", .target = "/1.0/images"};
  call.body = {std::string{"<"}, body_file{file.get(), content.size()}, std::string{">"}};
  uint64_t last = 0;
  call.progress = [&](uint64_t sent, uint64_t) { last = sent; };
  REQUIRE(server{fake.dir()}.request(call));
  CHECK(fake.seen().at(0).body == "<" + content + ">");
  CHECK(last == content.size() + 2);
}

TEST_CASE("an absent and a deaf socket are told apart", "[cli]") {
  CHECK(http_client{"/nonexistent/unix.socket"}.connect().error().code == fault::not_found);
  std::string deaf;
  {
    fake_server fake{[](const seen_request&) { return std::string{}; }};
    deaf = fake.dir() + ".socket";
    std::filesystem::rename(fake.dir() + "/unix.socket", deaf);
  }
  CHECK(http_client{deaf}.connect().error().code == fault::wrong_state);
  std::filesystem::remove(deaf);
}

TEST_CASE("url_encode keeps only what needs no escape", "[cli]") { CHECK(url_encode("a/b c%~") == "a%2Fb%20c%25~"); }
