#include "backends/instance/qemu/qmp_client.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <fcntl.h>
#include <future>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::qemu;
using std::chrono::milliseconds;

namespace {

/// QEMU's end of a socket, played by the test.
struct fake_qemu {
  socket_loop loop;
  unique_fd end;
  std::string pending;
  unique_fd passed; // the last descriptor that came
  std::promise<std::pair<std::string, json>> event;
  std::shared_ptr<qmp_client> client;

  fake_qemu() {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    end.reset(fds[0]);
    ::fcntl(fds[1], F_SETFL, O_NONBLOCK);
    client = qmp_client::open(loop, unique_fd{fds[1]}, [this](const std::string& name, const json& data) {
      event.set_value({name, data});
    });
    say(R"({"QMP": {"version": {}, "capabilities": ["oob"]}})");
    CHECK(hear()["execute"] == "qmp_capabilities");
  }

  void say(const std::string& line) {
    auto text = line + "\n";
    REQUIRE(::send(end.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  void answer(const json& request, const json& with) { say(json{{"return", with}, {"id", request["id"]}}.dump()); }

  json hear() {
    while (pending.find('\n') == std::string::npos) {
      pollfd p{end.get(), POLLIN, 0};
      REQUIRE(::poll(&p, 1, 30000) == 1);
      std::array<char, 4096> block;
      alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
      iovec part{block.data(), block.size()};
      msghdr header{};
      header.msg_iov = &part;
      header.msg_iovlen = 1;
      header.msg_control = control.data();
      header.msg_controllen = control.size();
      auto n = ::recvmsg(end.get(), &header, MSG_CMSG_CLOEXEC);
      REQUIRE(n > 0);
      if (auto* c = CMSG_FIRSTHDR(&header)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
        passed.reset(fd);
      }
      pending.append(block.data(), static_cast<size_t>(n));
    }
    auto end_of_line = pending.find('\n');
    auto line = json::parse(pending.substr(0, end_of_line));
    pending.erase(0, end_of_line + 1);
    return line;
  }

  std::future<outcome<json>> call(const char* command, milliseconds patience = milliseconds{30000}, int fd = -1) {
    return std::async(std::launch::async,
                      [this, command, patience, fd] { return client->call(command, json::object(), fd, patience); });
  }
};

} // namespace

TEST_CASE("calls are sent at once and answered in any order", "[qemu]") {
  fake_qemu qemu;
  auto first = qemu.call("query-a"), second = qemu.call("query-b");
  auto one = qemu.hear(), two = qemu.hear();
  qemu.answer(two, two["execute"]);
  qemu.say(R"({"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}, "timestamp": {}})");
  qemu.answer(one, one["execute"]);
  CHECK(*first.get() == "query-a");
  CHECK(*second.get() == "query-b");
  auto [name, data] = qemu.event.get_future().get();
  CHECK(name == "RESET");
  CHECK(data["reason"] == "guest-reset");
}

TEST_CASE("what QEMU says no to is an error with its words", "[qemu]") {
  fake_qemu qemu;
  auto call = qemu.call("device_del");
  auto request = qemu.hear();
  qemu.say(
      json{{"error", {{"class", "DeviceNotFound"}, {"desc", "Device 'x' not found"}}}, {"id", request["id"]}}.dump());
  auto refused = call.get();
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == error{fault::not_found, "QEMU: Device 'x' not found"});
  call = qemu.call("quit");
  qemu.say(json{{"error", 5}, {"id", qemu.hear()["id"]}}.dump());
  CHECK(call.get().error().code == fault::backend_failed);
}

TEST_CASE("a descriptor goes with its request", "[qemu]") {
  fake_qemu qemu;
  int fds[2];
  REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
  unique_fd read_end{fds[0]}, write_end{fds[1]};
  auto call = qemu.call("getfd", milliseconds{30000}, write_end.get());
  auto request = qemu.hear();
  REQUIRE(qemu.passed);
  CHECK(::write(qemu.passed.get(), "x", 1) == 1);
  char byte = 0;
  CHECK(::read(read_end.get(), &byte, 1) == 1);
  qemu.answer(request, json::object());
  CHECK(call.get());
}

TEST_CASE("nobody waits for a silent QEMU beyond his patience, and a late answer harms nobody", "[qemu]") {
  fake_qemu qemu;
  auto silent = qemu.call("stop", milliseconds{20}).get();
  REQUIRE_FALSE(silent);
  CHECK(silent.error().code == fault::timed_out);
  auto late = qemu.hear();
  qemu.answer(late, 1);
  auto next = qemu.call("cont");
  qemu.answer(qemu.hear(), 2);
  CHECK(*next.get() == 2);
}

TEST_CASE("nonsense, too long lines and an end of the connection end all calls", "[qemu]") {
  for (std::string what : {"nonsense\n", "[1]\n", "{\"event\": 7}\n", "\xff\n", "long", "end"}) {
    fake_qemu qemu;
    auto call = qemu.call("query-status");
    qemu.hear();
    if (what == "long") {
      std::string block(1 << 20, ' ');
      for (int i = 0; i < 6; ++i)
        if (::send(qemu.end.get(), block.data(), block.size(), MSG_NOSIGNAL) < 0) break;
    } else if (what == "end") {
      qemu.end.reset();
    } else {
      REQUIRE(::send(qemu.end.get(), what.data(), what.size(), 0) > 0);
    }
    auto ended = call.get();
    INFO(what);
    REQUIRE_FALSE(ended);
    CHECK(ended.error().code == fault::wrong_state);
    CHECK(qemu.client->over());
    CHECK(qemu.client->call("query-status").error().code == fault::wrong_state);
  }
}

TEST_CASE("answers to what was never asked, and of the wrong kind, are passed over", "[qemu]") {
  fake_qemu qemu;
  auto call = qemu.call("query-status");
  auto request = qemu.hear();
  for (auto line : {R"({"return": {}, "id": 4711})", R"({"return": {}})", R"({"id": "x", "error": []})", "{}"})
    qemu.say(line);
  qemu.answer(request, "right");
  CHECK(*call.get() == "right");
}
