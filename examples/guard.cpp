// Hands a read-only handle of the project to a child process, over a socket pair, and takes it back after a while. The
// child never sees the daemon's socket: the handle is all that it has.
//   example_guard DIR INSTANCE
#include <iostream>
#include <sys/socket.h>
#include <sys/wait.h>
#include <troupe/client.hpp>
#include <unistd.h>

namespace {

using troupe::bus::Project;

troupe::bus::Instance::Client instance_of(Project::Client project, const char* name) {
  auto get = project.instancesRequest().send().getInstances().getRequest();
  get.setName(name);
  return get.send().getInstance();
}

// The untrusted side.
int child(int socket, const char* name) {
  auto io = kj::setupAsyncIo();
  auto stream = io.lowLevelProvider->wrapSocketFd(socket);
  capnp::TwoPartyClient parent{*stream};
  auto project = parent.bootstrap().castAs<Project>();
  auto seen = instance_of(project, name).viewRequest().send().wait(io.waitScope);
  std::cout << "child: it is " << seen.getStatus().cStr() << std::endl;
  try {
    instance_of(project, name).stopRequest().send().wait(io.waitScope);
  } catch (const kj::Exception& why) {
    std::cout << "child: " << troupe::error_of(why).message << std::endl;
  }
  char taken_back = 0;
  if (read(STDIN_FILENO, &taken_back, 1) < 0) return 1; // the parent tells when it has revoked the handle
  try {
    instance_of(project, name).viewRequest().send().wait(io.waitScope);
    return 1;
  } catch (const kj::Exception& why) {
    std::cout << "child: " << troupe::error_of(why).message << std::endl;
    return 0;
  }
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "usage: example_guard DIR INSTANCE\n", 2;
  int sockets[2], words[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0 || pipe(words) != 0) return 1;
  auto pid = fork(); // before any connection: the child inherits the socket pair and nothing else
  if (pid == 0) {
    close(sockets[0]);
    close(words[1]);
    dup2(words[0], STDIN_FILENO);
    return child(sockets[1], argv[2]);
  }
  close(sockets[1]);
  close(words[0]);
  troupe::bus_client client{std::string{argv[1]} + "/bus.socket"};
  auto rules = client.project().restrictRequest();
  rules.setReadOnly(true);
  auto weak = rules.send().wait(client.scope());

  capnp::TwoPartyServer server{weak.getHandle()};
  auto stream = client.io().lowLevelProvider->wrapSocketFd(sockets[0]);
  auto serving = server.accept(*stream).eagerlyEvaluate([](kj::Exception&&) {});
  client.io().provider->getTimer().afterDelay(1 * kj::SECONDS).wait(client.scope());
  weak.getRevoker().revokeRequest().send().wait(client.scope());
  if (write(words[1], "x", 1) != 1) return 1;
  serving.wait(client.scope()); // until the child has gone
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
