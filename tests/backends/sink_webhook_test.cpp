#include "backends/sink/writers.hpp"
#include "messages/unique_fd.hpp"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <vector>

using namespace troupe;
using nlohmann::json;

namespace {

struct request {
  std::string head, body;
};

/// A receiver on the loopback that answers what the test says: the n-th request gets the n-th answer, the last one
/// again and again. An empty answer: none at all, until the test ends.
class receiver {
public:
  explicit receiver(std::vector<std::string> answers) : answers_{std::move(answers)} {
    listening_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    REQUIRE(::bind(listening_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(listening_.get(), 8) == 0);
    ::getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&at), &size);
    url = "http://127.0.0.1:" + std::to_string(ntohs(at.sin_port)) + "/hook?x=1";
    thread_ = std::thread{[this] { serve(); }};
  }
  ~receiver() {
    done_ = true;
    thread_.join();
  }

  std::string url;
  std::vector<request> requests; // read when the write has returned

private:
  bool wait_for(int fd) const {
    pollfd what{fd, POLLIN, 0};
    while (!done_)
      if (::poll(&what, 1, 20) > 0) return true;
    return false;
  }

  void serve() {
    while (wait_for(listening_.get())) {
      unique_fd peer{::accept(listening_.get(), nullptr, nullptr)};
      while (answer_one(peer.get())) {
      }
    }
  }

  bool answer_one(int peer) {
    std::string got;
    size_t end = std::string::npos, length = 0;
    while (end == std::string::npos || got.size() < end + 4 + length) {
      char part[65536];
      ssize_t count = wait_for(peer) ? ::recv(peer, part, sizeof part, 0) : 0;
      if (count <= 0) return false;
      got.append(part, static_cast<size_t>(count));
      end = got.find("\r\n\r\n");
      if (auto at = got.find("Content-Length: "); end != std::string::npos && at < end)
        length = std::stoul(got.substr(at + 16));
    }
    requests.push_back({got.substr(0, end + 2), got.substr(end + 4)});
    auto& answer = answers_[std::min(requests.size(), answers_.size()) - 1];
    if (answer.empty()) return wait_for(-1);
    auto text = "HTTP/1.1 " + answer + "\r\nContent-Length: 2\r\n\r\nno";
    return ::send(peer, text.data(), text.size(), MSG_NOSIGNAL) > 0;
  }

  std::vector<std::string> answers_;
  unique_fd listening_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

std::vector<sink_record> records(size_t count) {
  std::vector<sink_record> out;
  for (size_t i = 1; i <= count; ++i)
    out.push_back({"1:m1:" + std::to_string(i), "m1", "lifecycle.instance.started", "default.instance.c1.started",
                   "2026-01-31T12:00:00Z", R"({"n":)" + std::to_string(i) + "}"});
  return out;
}

std::unique_ptr<sink_writer> sink_for(const receiver& to, config_map more = {}) {
  more["url"] = to.url;
  return make_webhook_sink(more);
}

} // namespace

TEST_CASE("a webhook gets each event as a structured CloudEvent", "[sink]") {
  receiver there{{"204 Fine"}};
  auto done = sink_for(there, {{"header.Authorization", "Bearer abc"}})->write(records(2));
  REQUIRE(done.accepted == 2);
  CHECK_FALSE(done.failure);
  REQUIRE(there.requests.size() == 2);
  auto& first = there.requests.front();
  CHECK(first.head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"));
  CHECK(first.head.find("\r\nAuthorization: Bearer abc\r\n") != std::string::npos);
  CHECK(first.head.find("\r\nContent-Type: application/cloudevents+json; charset=utf-8\r\n") != std::string::npos);
  CHECK(json::parse(first.body) == json{{"specversion", "1.0"},
                                        {"id", "1:m1:1"},
                                        {"source", "troupe://m1"},
                                        {"type", "troupe.lifecycle.instance.started"},
                                        {"subject", "default.instance.c1.started"},
                                        {"time", "2026-01-31T12:00:00Z"},
                                        {"datacontenttype", "application/json"},
                                        {"data", {{"n", 1}}}});
  CHECK(json::parse(there.requests.back().body)["id"] == "1:m1:2");
}

TEST_CASE("a webhook may get events in batches", "[sink]") {
  receiver there{{"200 OK"}};
  REQUIRE(sink_for(there, {{"batch", "true"}})->write(records(3)).accepted == 3);
  REQUIRE(there.requests.size() == 1);
  CHECK(there.requests[0].head.find("application/cloudevents-batch+json") != std::string::npos);
  auto body = json::parse(there.requests[0].body);
  REQUIRE(body.size() == 3);
  CHECK(body[2]["id"] == "1:m1:3");
}

TEST_CASE("a batch that is refused is sent one by one, up to the event it is about", "[sink]") {
  receiver there{{"422 No", "200 OK", "422 No"}};
  auto done = sink_for(there, {{"batch", "true"}})->write(records(3));
  CHECK(done.accepted == 1);
  CHECK(done.refused);
  CHECK(there.requests.size() == 3);
}

TEST_CASE("a webhook's answer says whether the event or the way is to blame", "[sink]") {
  auto [status, refused] = GENERATE(table<std::string, bool>({
      {"400 Bad", true},
      {"409 Conflict", true},
      {"413 Large", true},
      {"422 No", true},
      {"401 Who", false},
      {"403 Never", false},
      {"404 Where", false},
      {"408 Slow", false},
      {"429 Wait", false},
      {"500 Ow", false},
      {"503 Later", false},
      {"302 There\r\nLocation: file:///etc/passwd", false},
  }));
  CAPTURE(status);
  receiver there{{"200 OK", status}};
  auto done = sink_for(there)->write(records(3));
  CHECK(done.accepted == 1);
  REQUIRE(done.failure);
  CHECK(done.refused == refused);
  CHECK(done.failure->message == "The webhook answered with status " + status.substr(0, 3) + ": no");
  CHECK(there.requests.size() == 2);
}

TEST_CASE("a webhook nobody listens at is a failure, not a refusal", "[sink]") {
  std::string url;
  {
    receiver there{{"200 OK"}};
    url = there.url;
  }
  auto done = make_webhook_sink({{"url", url}})->write(records(1));
  CHECK(done.accepted == 0);
  CHECK(done.failure);
  CHECK_FALSE(done.refused);
}

TEST_CASE("a webhook that does not answer is given up after the time-out", "[sink]") {
  receiver there{{""}};
  auto done = sink_for(there, {{"timeout", "1"}})->write(records(1));
  REQUIRE(done.failure);
  CHECK(done.failure->code == fault::timed_out);
  CHECK_FALSE(done.refused);
}

TEST_CASE("a webhook that does not answer is left when the sink is stopped", "[sink]") {
  receiver there{{""}};
  auto sink = sink_for(there, {{"timeout", "300"}});
  std::thread stopper{[&] { sink->stop(); }};
  auto done = sink->write(records(1));
  stopper.join();
  REQUIRE(done.failure);
  CHECK(done.failure->code == fault::cancelled);
}
