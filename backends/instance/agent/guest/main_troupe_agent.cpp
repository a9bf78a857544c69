#include "backends/instance/agent/guest/agent.hpp"
#include "backends/instance/agent/guest/child.hpp"
#include "backends/instance/agent/guest/port.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <kj/async-unix.h>
#include <string_view>

// The agent inside a virtual machine. `--fd N` has it on a descriptor that it was given instead of the machine's port.

namespace {

constexpr const char* port_name = "troupe.agent.0";

} // namespace

int main(int count, char** words) {
  using namespace troupe;
  bool given = count == 3 && std::string_view{words[1]} == "--fd";
  if (count != 1 && !given) {
    std::fprintf(stderr, "usage: troupe-agent [--fd N]\n");
    return 64;
  }
  auto pipe = given ? outcome<unique_fd>{unique_fd{std::atoi(words[2])}} : guest::open_port(port_name);
  if (!pipe) {
    std::fprintf(stderr, "troupe-agent: %s\n", pipe.error().message.c_str());
    return pipe.error().code == fault::in_use ? 0 : 1;
  }
  ::fcntl(pipe->get(), F_SETFD, FD_CLOEXEC);
  kj::UnixEventPort::captureChildExit();
  kj::UnixEventPort::captureSignal(SIGTERM);
  kj::UnixEventPort port;
  kj::EventLoop loop{port};
  kj::WaitScope scope{loop};
  guest::agent agent{port, std::move(*pipe), given ? guest::line::at_end::stop : guest::line::at_end::wait};
  auto told = port.onSignal(SIGTERM).then([](siginfo_t) { return true; });
  bool ends = agent.run().then([] { return false; }).exclusiveJoin(kj::mv(told)).wait(scope);
  if (!ends) return 1; // the port has gone
  agent.say_bye().exclusiveJoin(port.getTimer().afterDelay(kj::SECONDS)).wait(scope);
  return 0;
}
