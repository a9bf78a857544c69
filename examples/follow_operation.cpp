// Stops an instance and shows its operation step by step until it has ended.
//   example_follow_operation DIR INSTANCE
#include <iostream>
#include <troupe/client.hpp>

namespace {

using troupe::schema::Operation;

void print(Operation::Reader operation) {
  std::cout << operation.getDescription().cStr() << " (" << operation.getId().cStr() << ")\n";
  for (auto step : operation.getSteps())
    std::cout << "  " << step.getKind().cStr() << ": state " << static_cast<int>(step.getState()) << '\n';
}

// The daemon calls this for every transition.
class watcher final : public troupe::bus::EventSink::Server {
public:
  kj::Promise<void> deliver(DeliverContext context) override {
    for (auto one : context.getParams().getDeliveries())
      if (one.isEvent()) std::cout << "now: " << one.getEvent().getAction().cStr() << std::endl;
    return kj::READY_NOW;
  }
  kj::Promise<void> ended(EndedContext) override { return kj::READY_NOW; }
};

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "usage: example_follow_operation DIR INSTANCE\n", 2;
  try {
    troupe::bus_client client{std::string{argv[1]} + "/bus.socket"};
    auto get = client.project().instancesRequest().send().getInstances().getRequest();
    get.setName(argv[2]);
    auto operation = get.send().getInstance().stopRequest().send().getOperation();

    auto follow = operation.followRequest(); // sent together with the stop itself
    follow.setTo(kj::heap<watcher>());
    auto following = follow.send();
    auto end = operation.waitRequest().send().wait(client.scope());
    print(end);
    return end.getState() == Operation::State::SUCCEEDED ? 0 : 1;
  } catch (const kj::Exception& why) {
    return std::cerr << "Error: " << troupe::error_of(why).message << '\n', 1;
  }
}
