// A server that answers GET /1.0 from shared bytes and echoes websockets, to measure the transport alone.
//   http_bench SOCKET [FILE]      GET /file streams FILE; any POST is spooled and its size answered
#include "gateway/http_server.hpp"
#include "runtime/loop.hpp"

#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>

using namespace troupe;

namespace {

http_response ok(body_part part) {
  http_response made{200, {{"Content-Type", "application/json"}}, {}};
  made.body.push_back(std::move(part));
  return made;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2) return fprintf(stderr, "usage: http_bench SOCKET [FILE]\n"), 2;
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  auto body = std::make_shared<const std::string>(std::string(3000, 'x'));
  loop on{"bench"};
  http_server server{on,
                     {},
                     "/tmp",
                     [](const http_request&) {
                       return body_rule{true, ~0ull};
                     },
                     [&](http_request request, responder answer) {
                       if (request.wants_websocket) {
                         return answer.accept_websocket([](std::shared_ptr<websocket> socket) {
                           socket->on_message([to = std::weak_ptr{socket}](std::string data, bool) {
                             if (auto open = to.lock()) open->send_binary(std::move(data));
                           });
                         });
                       }
                       if (request.method == "POST") return answer.send(ok(std::to_string(request.spool_size)));
                       if (request.path != "/file") return answer.send(ok(body));
                       unique_fd file{open(argc > 2 ? argv[2] : "/dev/null", O_RDONLY | O_CLOEXEC)};
                       struct stat found {};
                       fstat(file.get(), &found);
                       answer.send(ok(file_range{std::move(file), 0, static_cast<uint64_t>(found.st_size)}));
                     }};
  if (auto listening = server.listen_unix(argv[1], 0600); !listening)
    return fprintf(stderr, "%s\n", listening.error().message.c_str()), 1;
  int signal = 0;
  sigwait(&ends, &signal);
}
