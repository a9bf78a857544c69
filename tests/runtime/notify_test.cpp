#include "messages/unique_fd.hpp"
#include "runtime/notify.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

using namespace troupe;

namespace {

/// A service manager: listens on `name`, which is also put into the environment.
struct listener {
  unique_fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};

  explicit listener(const std::string& name) {
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::memcpy(at.sun_path, name.data(), name.size());
    auto length = offsetof(sockaddr_un, sun_path) + name.size() + (name[0] == '@' ? 0 : 1);
    if (name[0] == '@') at.sun_path[0] = '\0';
    REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&at), static_cast<socklen_t>(length)) == 0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  ~listener() { ::unsetenv("NOTIFY_SOCKET"); }

  std::string next() {
    char text[256];
    auto length = ::recv(socket.get(), text, sizeof text, MSG_DONTWAIT);
    return length < 0 ? "nothing" : std::string(text, static_cast<size_t>(length));
  }
};

} // namespace

TEST_CASE("the service manager is told on a socket with a path or an abstract name") {
  auto path = "/tmp/tr-runtime-notify-" + std::to_string(::getpid());
  for (auto& name : {path, "@" + path}) {
    listener manager{name};
    notify_ready();
    CHECK(manager.next() == "READY=1");
    notify_stopping();
    CHECK(manager.next() == "STOPPING=1");
  }
  std::filesystem::remove(path);
}

TEST_CASE("without a service manager nothing happens") {
  ::unsetenv("NOTIFY_SOCKET");
  CHECK_NOTHROW(notify_ready());
  for (auto name : {"", "relative", "/nonexistent/socket", "@nobody-listens"}) {
    ::setenv("NOTIFY_SOCKET", name, 1);
    CHECK_NOTHROW(notify_ready());
  }
  ::setenv("NOTIFY_SOCKET", std::string(500, '/').c_str(), 1);
  CHECK_NOTHROW(notify_ready());
  ::unsetenv("NOTIFY_SOCKET");
}
