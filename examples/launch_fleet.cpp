// Creates and starts COUNT instances of an image and runs a command in each: all is sent before anything is answered.
//   example_launch_fleet DIR IMAGE COUNT
#include <iostream>
#include <list>
#include <troupe/client.hpp>

namespace {

struct member {
  std::string name, output;
  kj::Promise<int> exit_code = nullptr;
};

kj::Promise<int> launch(troupe::bus::Instances::Client instances, member& one, const char* image) {
  auto create = instances.createRequest();
  create.setName(one.name);
  create.initSource().setType("image");
  create.getSource().setAlias(image);
  auto started = create.send().getInstance().startRequest().send();

  auto exec = started.getInstance().execRequest(); // waits in the daemon until the start has succeeded
  exec.initCommand().initCommand(1).set(0, "hostname");
  exec.setStdout(troupe::sink_into(one.output));
  auto end = exec.send().getProcess().waitRequest().send();
  return end.then([](auto&& results) { return results.getExitCode(); });
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "usage: example_launch_fleet DIR IMAGE COUNT\n", 2;
  troupe::bus_client client{std::string{argv[1]} + "/bus.socket"};
  auto instances = client.project().instancesRequest().send().getInstances();
  std::list<member> fleet;
  for (int i = 0; i < std::stoi(argv[3]); ++i) {
    auto& one = fleet.emplace_back();
    one.name = "fleet-" + std::to_string(i);
    one.exit_code = launch(instances, one, argv[2]);
  }
  int failed = 0;
  for (auto& one : fleet) try {
      auto code = one.exit_code.wait(client.scope());
      std::cout << one.name << ": exit code " << code << ", says " << one.output;
    } catch (const kj::Exception& why) {
      std::cout << one.name << ": " << troupe::error_of(why).message << '\n';
      ++failed;
    }
  return failed ? 1 : 0;
}
